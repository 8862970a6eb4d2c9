// Made by `make contract` from the contract package. Do not edit.
//
//   const chat: Socket<ChatEvents, ChatCommands> = io(url + "/chat", { auth: { token } });
//   const ack = await chat.emitWithAck("chat:send", { conversation_id, client_id, text });
//   if (ack.ok) ack.data.message; else ack.error.code;

export type ErrorCode =
  "validation_failed" |
  "malformed_json" |
  "unknown_command" |
  "not_found" |
  "method_not_allowed" |
  "payload_too_large" |
  "unsupported_media_type" |
  "unauthenticated" |
  "token_invalid" |
  "token_expired" |
  "session_revoked" |
  "refresh_reused" |
  "csrf_failed" |
  "forbidden" |
  "not_a_participant" |
  "invalid_credentials" |
  "account_locked" |
  "email_taken" |
  "idempotency_mismatch" |
  "message_deleted" |
  "message_version_stale" |
  "offer_version_stale" |
  "offer_not_your_turn" |
  "offer_closed" |
  "offer_expired" |
  "credit_limit_exceeded" |
  "hold_closed" |
  "amount_exceeded" |
  "conflict" |
  "rate_limited" |
  "too_many_connections" |
  "unavailable" |
  "timeout" |
  "over_capacity" |
  "token_not_yet_valid" |
  "too_many_pending" |
  "limit_reached" |
  "internal_error";

/** `payable`: what the user owes, within `credit_limit`. `receivable`: what others owe the user; it has no limit.
    `credit_balance`: what the user has paid, or got back, beyond what they owed; it does not change `available_credit`.

    Balances in minor units: debits_posted - credits_posted is owed, debits_pending is held for accepted offers. Of a
    `credit_balance`, credits_posted - debits_posted is there to pay with. */
export interface Account {
  user_id: string;
  currency: string;
  purpose: "credit_balance" | "payable" | "receivable";
  credit_limit: number;
  debits_pending: number;
  debits_posted: number;
  credits_pending: number;
  credits_posted: number;
  available_credit: number;
}

export interface AccountData {
  account: Account;
}

export interface AccountStatus {
  user_id: string;
  disabled: boolean;
}

/** Sets the suggested limit, if it is still this one: what the administrator saw. */
export interface ApplyRisk {
  user_id: string;
  suggested_limit: number;
  currency?: string;
}

export interface AuthExpiring {
  expires_in_ms: number;
}

export interface AuthRefresh {
  token: string;
}

export interface AuthRefreshed {
  expires_in_ms: number;
}

export interface AuthRevoked {
  reason: "disabled" | "expired" | "logged_out" | "password_changed" | "refresh_reused" | "revoked";
}

/** Connections that do not read just now, and the bytes that wait for them. */
export interface Backlog {
  connections: number;
  bytes: number;
}

export interface CancelOffer {
  offer_id: string;
  version: number;
  client_id: string;
  note?: string | null;
}

/** `status`: up, down, or not_configured. `detail` says why. */
export interface ComponentHealth {
  status: "down" | "not_configured" | "up";
  latency_ms: number | null;
  detail: string | null;
}

export interface ConnectionInfo {
  id: string;
  user_id: string;
  session_id: string;
  namespaces: string[];
  transport: "polling" | "websocket";
  connected_at: string;
  waiting_bytes: number;
}

export interface ConnectionList {
  process: ProcessInfo;
  items: ConnectionInfo[];
  next_cursor: string | null;
}

export interface ConnectionTarget {
  connection_id: string;
}

/** As one viewer sees it: `unread`, `muted` and `archived` are the viewer's own. `pinned_message_ids` names messages
    that the viewer may see, deleted ones left out. */
export interface Conversation {
  id: string;
  type: "direct" | "group";
  title: string | null;
  participants: Participant[];
  last_seq: number;
  last_message: Message | null;
  unread: number;
  muted: boolean;
  archived: boolean;
  pinned_message_ids: string[];
  created_at: string;
  updated_at: string;
}

export interface ConversationData {
  conversation: Conversation;
  duplicate?: boolean;
}

export interface ConversationList {
  items: Conversation[];
  next_cursor: string | null;
}

/** `messages` follow the cursor without a gap; `changed` are older ones that changed since `changed_since`. */
export interface ConversationMissed {
  conversation: Conversation;
  messages: Message[];
  changed: Message[];
  has_more: boolean;
}

export interface ConversationTarget {
  conversation_id: string;
}

/** A counter-offer's unit price comes down from `ask`, the seller's asking price, and never under `floor`: each time
    halfway to what is offered (`midpoint`), or by `step`. Buyers get to see both prices, and neither is `accept_at`,
    which may be anything up to `floor`. */
export interface Counter {
  kind: "midpoint" | "step";
  ask: number;
  floor: number;
  step?: number | null;
}

export interface Create {
  type: "direct" | "group";
  participant_ids: string[];
  client_id: string;
  title?: string | null;
}

/** `side`: what the caller does. `to_user_id` is needed in a group. */
export interface CreateOffer {
  conversation_id: string;
  client_id: string;
  side: "buy" | "sell";
  items: Item[];
  settlement: "credit" | "none";
  to_user_id?: string | null;
  terms?: string | null;
  note?: string | null;
  expires_in_s?: number;
}

/** `transfer` is null if the limit changed. */
export interface CreditChanged {
  account: Account;
  transfer: Transfer | null;
}

/** Newest change first. */
export interface CreditTrail {
  account: Account;
  changes: LimitChange[];
}

export interface DetailedHealth {
  status: "degraded" | "draining" | "not_ready" | "ready";
  version: string;
  started_at: string;
  uptime_s: number;
  components: Record<string, ComponentHealth>;
  performance: Record<string, number>;
}

/** What the client says of the device it runs on; shown in the list of sessions.

    `id`: a random one that the app keeps. From a device that was logged in before, guesses of others at the account's
    password do not slow the owner's log-in. */
export interface Device {
  id?: string | null;
  name?: string | null;
  platform?: string | null;
}

/** A buyer's objection to what was taken. While it is `open`, `amount` is held back from the seller. */
export interface Dispute {
  id: string;
  transfer_id: string;
  user_id: string;
  amount: Money;
  reason: string;
  status: "lost" | "open" | "won";
  hold_id: string;
  created_at: string;
  updated_at: string;
}

export interface DisputeData {
  dispute: Dispute;
  duplicate?: boolean;
}

/** `retry_after_ms` is drawn for each connection, so that not all come back in the same moment. */
export interface Draining {
  retry_after_ms: number;
}

/** `version`, when sent, makes the edit fail with message_version_stale if the message changed meanwhile. */
export interface Edit {
  message_id: string;
  text: string;
  version?: number | null;
}

/** A command without particulars, or an acknowledgement without data. */
export type Empty = Record<string, never>;

/** One line of a statement. `owed` and `held` are the account's after it, in minor units; an `owed` below zero is
    what its owner is owed. On a `payable` it is below zero only until the next line, which moves that to the owner's
    credit balance in the same transaction. */
export interface Entry {
  seq: number;
  side: "credit" | "debit";
  transfer: Transfer;
  owed: number;
  held: number;
}

/** What a client sees of an error. `retry_after_ms` is null when waiting does not help. */
export interface ErrorBody {
  code: ErrorCode;
  message: string;
  details: ErrorDetail[] | Record<string, unknown> | null;
  retryable: boolean;
  retry_after_ms: number | null;
  request_id: string;
}

/** One field that was refused, and why. */
export interface ErrorDetail {
  field: string;
  reason: string;
}

/** How the caller answers, and what comes of their offers.

    `received`: proposals that waited for the caller; `answered` of them by the caller, `automatic` of these by a rule;
    `lapsed`: nobody answered in time; `response_ms_median`: how long the caller took, rules left out. `concluded`:
    offers that ended, `accepted` of them by agreement; `conversion` is accepted / concluded, `rounds_mean` counts the
    proposals that an accepted one took. `complete`: there were no more offers in that time than are counted. */
export interface Figures {
  received: number;
  answered: number;
  automatic: number;
  lapsed: number;
  response_ms_median: number | null;
  concluded: number;
  accepted: number;
  conversion: number | null;
  rounds_mean: number | null;
  complete: boolean;
}

/** `amount`, in minor units of the offer's currency, takes a part of what is held and releases the rest; that is
    the seller's to say. */
export interface FulfilOffer {
  offer_id: string;
  version: number;
  client_id: string;
  note?: string | null;
  amount?: number | null;
}

export interface GetAccount {
  currency?: string;
  purpose?: "credit_balance" | "payable" | "receivable";
}

/** `from` <= moment < `to`; without them everything. */
export interface GetExport {
  currency?: string;
  purpose?: "credit_balance" | "payable" | "receivable";
  from?: string | null;
  to?: string | null;
}

/** Of offers that changed in the last `days` days, the newest 1,000 of them. */
export interface GetFigures {
  days?: number;
}

/** Newest first. `from` and `to` are moments: from <= created_at < to. */
export interface GetStatement {
  currency?: string;
  purpose?: "credit_balance" | "payable" | "receivable";
  from?: string | null;
  to?: string | null;
  cursor?: string | null;
  limit?: number;
}

/** `from` <= moment < `to`; without them the last 90 days, at most a year. Weeks begin on Monday; all in UTC. */
export interface GetSummary {
  currency?: string;
  purpose?: "credit_balance" | "payable" | "receivable";
  by?: "day" | "month" | "week";
  from?: string | null;
  to?: string | null;
}

export interface Head {
  conversation_id: string;
  last_seq: number;
}

/** With neither bound, the latest; messages always come in rising `seq`. */
export interface History {
  conversation_id: string;
  before_seq?: number | null;
  after_seq?: number | null;
  limit?: number;
}

export interface HistoryData {
  messages: Message[];
  has_more: boolean;
}

/** The same over REST, where a list goes on by `cursor`: towards older messages, or newer ones after `after_seq`. */
export interface HistoryPage {
  conversation_id: string;
  before_seq?: number | null;
  after_seq?: number | null;
  limit?: number;
  cursor?: string | null;
}

/** `by`: a user's id, or "system" for an expiry. `version` is the offer's after the step. `rule_ids`: the seller's
    rules that took it in their name, null if they did it themselves. */
export interface HistoryStep {
  version: number;
  action: "accept" | "cancel" | "counter" | "create" | "decline" | "expire" | "fulfil" | "withdraw";
  by: string;
  items: PricedItem[];
  total: Money;
  terms: string | null;
  note: string | null;
  rule_ids: string[] | null;
  at: string;
}

export interface Item {
  title: string;
  quantity: number;
  unit_price: Price;
  sku?: string | null;
  unit?: string | null;
  tiers?: Tier[];
}

/** Work that failed so often that it is not tried any more. `error` is what its last attempt died of. */
export interface Job {
  id: string;
  kind: string;
  payload: Record<string, unknown>;
  attempts: number;
  error: string | null;
  created_at: string;
  run_at: string;
}

export interface JobList {
  items: Job[];
  next_cursor: string | null;
}

export interface JobTarget {
  job_id: string;
}

export interface Join {
  conversation_id: string;
  since_seq?: number | null;
}

export interface JoinData {
  conversation: Conversation;
  messages: Message[];
  has_more: boolean;
}

/** `by`: the administrator's user id. */
export interface LimitChange {
  before: number;
  after: number;
  by: string;
  reason: string;
  at: string;
}

export interface List {
  cursor?: string | null;
  limit?: number;
  archived?: boolean | null;
  type?: "direct" | "group" | null;
}

export interface ListConnections {
  user_id?: string | null;
  cursor?: string | null;
  limit?: number;
}

export interface ListJobs {
  cursor?: string | null;
  limit?: number;
}

export interface ListNotifications {
  cursor?: string | null;
  limit?: number;
  kind?: "conversation_added" | "mention" | null;
  unread?: boolean | null;
}

export interface ListOffers {
  status?: "accepted" | "cancelled" | "declined" | "expired" | "fulfilled" | "pending" | "withdrawn" | null;
  conversation_id?: string | null;
  cursor?: string | null;
  limit?: number;
}

export interface Liveness {
  status: "ok";
}

export interface Login {
  email: string;
  password: string;
  device?: Device | null;
}

export interface Mark {
  conversation_id: string;
  seq: number;
}

/** Only the fields that are sent change; null clears phone and business. */
export interface MeUpdate {
  name?: string;
  phone?: string | null;
  business?: string | null;
}

export interface Members {
  conversation_id: string;
  add?: string[];
  remove?: string[];
}

/** `version` rises with every edit, deletion and reaction: keep the copy with the highest.

    `offer` is there with kind `offer` alone. */
export interface Message {
  id: string;
  conversation_id: string;
  seq: number;
  sender_id: string;
  client_id: string | null;
  kind: "offer" | "system" | "text";
  text: string;
  attachments: string[];
  reply_to: string | null;
  mentions: string[];
  reactions: Record<string, string[]>;
  created_at: string;
  edited_at: string | null;
  deleted_at: string | null;
  version: number;
  offer?: OfferStep;
}

export interface MessageData {
  message: Message;
  duplicate?: boolean;
}

export interface MessageList {
  items: Message[];
  next_cursor: string | null;
}

export interface MessageTarget {
  message_id: string;
}

/** An amount, as the server sends it. */
export interface Money {
  amount: number;
  currency: string;
}

/** `data` names what it is about: conversation_id and, for a mention, message_id and seq.

    `body` of a mention is what the message says now; empty if it was deleted, or the user may not see it any more. */
export interface Notification {
  id: string;
  kind: "conversation_added" | "mention";
  title: string;
  body: string;
  data: Record<string, unknown>;
  read_at: string | null;
  created_at: string;
}

export interface NotificationEvent {
  notification: Notification;
}

export interface NotificationList {
  items: Notification[];
  next_cursor: string | null;
  unread: number;
}

/** `ids`: those that this call marked; `unread`: how many are left. */
export interface NotificationsRead {
  ids: string[];
  unread: number;
}

/** An OfferState with its `history`: each step that led to it, the last one last. */
export interface Offer {
  id: string;
  conversation_id: string;
  status: "accepted" | "cancelled" | "declined" | "expired" | "fulfilled" | "pending" | "withdrawn";
  version: number;
  buyer_id: string;
  seller_id: string;
  created_by: string;
  awaiting_user_id: string | null;
  items: PricedItem[];
  total: Money;
  terms: string | null;
  settlement: "credit" | "none";
  expires_at: string;
  hold_id: string | null;
  captured: Money | null;
  created_at: string;
  updated_at: string;
  history: HistoryStep[];
}

export interface OfferData {
  offer: Offer;
  duplicate?: boolean;
}

export interface OfferList {
  items: Offer[];
  next_cursor: string | null;
}

/** An offer as it is now, without what led to it. `captured` is what fulfilling took, null before.
    `awaiting_user_id` is null once nobody has to answer. */
export interface OfferState {
  id: string;
  conversation_id: string;
  status: "accepted" | "cancelled" | "declined" | "expired" | "fulfilled" | "pending" | "withdrawn";
  version: number;
  buyer_id: string;
  seller_id: string;
  created_by: string;
  awaiting_user_id: string | null;
  items: PricedItem[];
  total: Money;
  terms: string | null;
  settlement: "credit" | "none";
  expires_at: string;
  hold_id: string | null;
  captured: Money | null;
  created_at: string;
  updated_at: string;
}

/** What a message of kind `offer` tells: the step that an offer took. `offer:get` has the offer. */
export interface OfferStep {
  offer_id: string;
  version: number;
  action: string;
  status: string;
  total: Money;
}

export interface OfferTarget {
  offer_id: string;
}

/** `step` is the last of the offer's history, which `offer:get` has whole: up to 256 KiB, so it is not sent to
    everybody at each step. */
export interface OfferUpdate {
  offer: OfferState;
  step: HistoryStep;
}

/** `transfer_id`: a `post` that the caller paid by. */
export interface OpenDispute {
  transfer_id: string;
  client_id: string;
  reason: string;
}

/** `joined_seq`: this person sees messages after it. Marks are high-water: read implies delivered. */
export interface Participant {
  user_id: string;
  name: string;
  role: "member" | "owner";
  joined_seq: number;
  delivered_seq: number;
  read_seq: number;
}

export interface PasswordChange {
  current_password: string;
  new_password: string;
}

/** `method` names a payment provider, or is `balance`: then it is paid from the credit balance at once.

    At most what is owed can be paid, less what pending payments pay already: `amount_exceeded` says how much that is
    (`available`), and why: `owed`, `pending`, `pending_until` and, for `balance`, `balance`. */
export interface Pay {
  client_id: string;
  amount: PositiveMoney;
  method: string;
}

/** What a user pays of what they owe. The ledger moves when the provider has confirmed: then `transfer_id` is there.

    `reference` is the provider's name for it, `checkout_url` where the user completes it, if that is a page.
    A `pending` one counts as paid until `expires_at`, and is `expired` afterwards; money that arrives later is booked
    all the same, and then it is `succeeded`. */
export interface Payment {
  id: string;
  user_id: string;
  amount: Money;
  method: string;
  status: "expired" | "pending" | "succeeded";
  reference: string | null;
  checkout_url: string | null;
  transfer_id: string | null;
  created_at: string;
  updated_at: string;
  expires_at: string | null;
}

export interface PaymentData {
  payment: Payment;
  duplicate?: boolean;
}

export interface PaymentTarget {
  payment_id: string;
}

/** What a client pays. */
export interface PositiveMoney {
  amount: number;
  currency: string;
}

/** Kinds the user does not want to be notified of. */
export interface Preferences {
  muted_kinds: ("conversation_added" | "mention")[];
}

export interface PreferencesData {
  preferences: Preferences;
}

/** An invisible person is offline to others. */
export interface Presence {
  user_id: string;
  status: "away" | "dnd" | "invisible" | "offline" | "online";
  text: string | null;
  last_seen_at: string | null;
}

export interface PresenceData {
  presence: Presence;
}

/** `refused` are those the caller shares no conversation with (or who do not exist). */
export interface Presences {
  presences: Presence[];
  refused: string[];
}

/** What something costs; as a client sends it. */
export interface Price {
  amount: number;
  currency: string;
}

/** `total` is of the tier that its quantity reaches. */
export interface PricedItem {
  title: string;
  sku: string | null;
  quantity: number;
  unit: string | null;
  unit_price: Money;
  tiers: PricedTier[];
  total: Money;
}

export interface PricedTier {
  min_quantity: number;
  unit_price: Money;
}

/** `id` begins the request ids that this process makes; `route` is its ROUTE, or empty. */
export interface ProcessInfo {
  id: string;
  route: string;
  pid: number;
  started_at: string;
  uptime_s: number;
}

/** `connections` are logged in; `sessions` are all of Engine.IO's, those that never log in included.
    `commands_running`: operations of any door, this one among them. */
export interface ProcessStats {
  process: ProcessInfo;
  status: "degraded" | "draining" | "not_ready" | "ready";
  sessions: number;
  connections: number;
  namespaces: Record<string, number>;
  rooms: number;
  commands_running: number;
  log_ins_running: number;
  loop_lag_ms: number;
  backlog: Backlog;
  redis: ComponentHealth;
  versions: Record<string, string>;
}

export interface React {
  message_id: string;
  emoji: string;
  on: boolean;
}

/** Either `ids` or `all: true`. */
export interface ReadNotifications {
  ids?: string[] | null;
  all?: boolean;
}

export interface Readiness {
  status: "degraded" | "draining" | "not_ready" | "ready";
  components: Record<string, ComponentHealth>;
}

/** `unread` is sent only to the reader's own devices, with the `last_seq` up to which it counts: a message beyond
    that, already here or yet to come, adds to it. */
export interface Receipt {
  conversation_id: string;
  user_id: string;
  delivered_seq: number;
  read_seq: number;
  unread?: number;
  last_seq?: number;
}

export interface ReceiptData {
  receipt: Receipt;
}

export interface Refresh {
  refresh_token: string;
}

/** `transfer_id`: a `post` that the caller was paid by. Without `amount`, all that is left of it. */
export interface Refund {
  transfer_id: string;
  client_id: string;
  amount?: number | null;
  reason?: string | null;
}

export interface Register {
  email: string;
  password: string;
  name: string;
  role?: "user" | "vendor";
  phone?: string | null;
  business?: string | null;
  device?: Device | null;
}

/** `won`: the buyer is right, and gets the amount back. */
export interface ResolveDispute {
  dispute_id: string;
  outcome: "lost" | "won";
}

/** `items`, `terms` and `expires_in_s` belong to a counter-offer, which keeps what it does not name: without
    `expires_in_s` it expires at the same moment as the offer it answers. Null is the same as not named. */
export interface RespondOffer {
  offer_id: string;
  version: number;
  client_id: string;
  action: "accept" | "counter" | "decline" | "withdraw";
  items?: Item[] | null;
  terms?: string | null;
  note?: string | null;
  expires_in_s?: number | null;
}

/** `score` from 0 to 100, 100 is best; null without any history. The formula is in docs/offers.md. */
export interface Risk {
  user_id: string;
  currency: string;
  score: number | null;
  factors: RiskFactor[];
  suggested_limit: number;
  account: Account;
}

/** `value` is a share from 0 to 1, which takes `points` of at most `weight` from the score. */
export interface RiskFactor {
  name: "disputes" | "lateness" | "utilisation";
  value: number;
  weight: number;
  points: number;
  explanation: string;
}

/** A rule made before rules named what they are for has no `title`, and is not enabled until it is set anew. */
export interface Rule {
  id: string;
  sku: string | null;
  title: string | null;
  unit: string | null;
  quantity_min: number;
  quantity_max: number;
  settlement: "any" | "credit" | "none";
  terms: boolean;
  currency: string;
  accept_at: number;
  decline_below: number | null;
  counter: Counter | null;
  rounds: number;
  enabled: boolean;
  created_at: string;
  updated_at: string;
}

export interface RuleData {
  rule: Rule;
}

export interface RuleList {
  items: Rule[];
}

export interface RuleTarget {
  rule_id: string;
}

export interface Search {
  query: string;
  conversation_id?: string | null;
  cursor?: string | null;
  limit?: number;
}

export interface Send {
  conversation_id: string;
  client_id: string;
  text?: string | null;
  attachments?: string[];
  reply_to?: string | null;
  mentions?: string[];
}

export interface Session {
  id: string;
  device: Device;
  ip: string | null;
  user_agent: string | null;
  current: boolean;
  created_at: string;
  last_used_at: string;
  expires_at: string;
}

export interface SessionList {
  items: Session[];
  next_cursor: string | null;
}

export interface SessionTarget {
  session_id: string;
}

/** `amount` in minor units. One below what is owed only stops new debits. */
export interface SetCreditLimit {
  user_id: string;
  amount: number;
  currency: string;
  reason: string;
}

export interface SetDisabled {
  user_id: string;
  disabled: boolean;
  reason: string;
}

/** Without `muted_kinds`, only tells the present ones. */
export interface SetPreferences {
  muted_kinds?: ("conversation_added" | "mention")[];
}

/** One rule for each `sku` and currency; one for each `title`, of items that name no SKU.

    It answers for what it names and for nothing else: an item with exactly this `sku`, `title` and `unit` (null: that
    names none), in a quantity from `quantity_min` to `quantity_max`, without tiers and only once in the offer; this
    `settlement`; and nothing of the buyer's own words, `terms` or a note, unless `terms` says that these may be there.
    An offer in which anything else is found is left to the seller.

    Prices are unit prices in minor units. The offer is accepted if every item is offered at `accept_at` or above,
    declined if any is below `decline_below`, and else countered if every rule has a `counter`, at most `rounds` times. */
export interface SetRule {
  currency: string;
  accept_at: number;
  title: string;
  quantity_max: number;
  sku?: string | null;
  unit?: string | null;
  quantity_min?: number;
  settlement?: "any" | "credit" | "none";
  terms?: boolean;
  decline_below?: number | null;
  counter?: Counter | null;
  rounds?: number;
  enabled?: boolean;
}

export interface SetStatus {
  status: "away" | "dnd" | "invisible" | "online";
  text?: string | null;
}

export interface Statement {
  items: Entry[];
  next_cursor: string | null;
}

export interface Subscribe {
  user_ids: string[];
}

/** `complete` is false if there were more entries than are counted (10,000), the oldest of which are left out. */
export interface Summary {
  currency: string;
  periods: SummaryLine[];
  counterparties: SummaryLine[];
  complete: boolean;
}

/** Posted amounts in minor units. `key`: the first day of a period (2026-11-01), or a counterparty's user id.

    Moves between the caller's own account and their credit balance are lines with the caller as the counterparty. */
export interface SummaryLine {
  key: string;
  debits: number;
  credits: number;
  transfers: number;
}

/** `cursors`: the last `seq` the client has without a gap, per conversation; unnamed conversations count as 0. */
export interface Sync {
  cursors: Record<string, number>;
  changed_since?: string | null;
}

/** `gone`: named by the cursors, but the caller is not in them (any more). */
export interface SyncData {
  conversations: ConversationMissed[];
  gone: string[];
  more: boolean;
  synced_at: string;
}

/** From `min_quantity` on each unit costs this. */
export interface Tier {
  min_quantity: number;
  unit_price: Price;
}

export interface Tokens {
  access_token: string;
  refresh_token: string;
  token_type: "Bearer";
  expires_in: number;
}

export interface TokensData {
  tokens: Tokens;
}

/** It never changes. A `pending` one is ended by a `post`, a `void` or an `expire` that names it in `pending_id`.

    `about` says what it is for: offer_id, conversation_id. One whose `code` is `credit_balance` moves what the transfer
    in `about.transfer_id` paid or gave back beyond what was owed to the same user's credit balance. */
export interface Transfer {
  id: string;
  kind: "expire" | "pending" | "post" | "single" | "void";
  code: string;
  amount: Money;
  debit_user_id: string;
  credit_user_id: string;
  pending_id: string | null;
  corrects_id: string | null;
  about: Record<string, string>;
  by: string;
  note: string;
  created_at: string;
}

export interface TransferData {
  transfer: Transfer;
  duplicate?: boolean;
}

export interface Typing {
  conversation_id: string;
}

/** `expires_in_ms` is 0 for a stop. */
export interface TypingChanged {
  conversation_id: string;
  user_id: string;
  expires_in_ms: number;
}

/** Only the fields that are sent change. `muted` and `archived` are the caller's own. Of `pinned_message_ids` those
    that the caller cannot see, from before they joined, stay. */
export interface Update {
  conversation_id: string;
  title?: string;
  muted?: boolean;
  archived?: boolean;
  pinned_message_ids?: string[];
}

export interface User {
  id: string;
  email: string;
  name: string;
  role: "admin" | "super_admin" | "user" | "vendor";
  phone: string | null;
  business: string | null;
  email_verified: boolean;
  created_at: string;
}

export interface UserCredit {
  user_id: string;
  currency?: string;
}

export interface UserTokens {
  user: User;
  tokens: Tokens;
}

export type Ack<Data> = { ok: true; data: Data } | { ok: false; error: ErrorBody };

export interface ChatCommands {
  /** Makes a conversation of the caller and others. A direct conversation of two people exists once. */
  "chat:create": (payload: Create, ack: (reply: Ack<ConversationData>) => void) => void;
  /** The caller's conversations, newest activity first. A page is over soon after 5000 participants too, and when enough were looked at that are not wanted: it may have few items or none and yet a next_cursor. */
  "chat:list": (payload: List, ack: (reply: Ack<ConversationList>) => void) => void;
  /** One conversation. */
  "chat:get": (payload: ConversationTarget, ack: (reply: Ack<ConversationData>) => void) => void;
  /** Opens a conversation: this connection looks at it now. Returns the latest messages, or those after since_seq. */
  "chat:join": (payload: Join, ack: (reply: Ack<JoinData>) => void) => void;
  /** This connection no longer looks at it. */
  "chat:leave": (payload: ConversationTarget, ack: (reply: Ack<Empty>) => void) => void;
  /** Sends a message. The acknowledgement means that it is durable; a repeat with the same client_id adds none. */
  "chat:send": (payload: Send, ack: (reply: Ack<MessageData>) => void) => void;
  /** Changes the text of the caller's own message. */
  "chat:edit": (payload: Edit, ack: (reply: Ack<MessageData>) => void) => void;
  /** Deletes the caller's own message; a tombstone keeps its place in the sequence. */
  "chat:delete": (payload: MessageTarget, ack: (reply: Ack<MessageData>) => void) => void;
  /** Adds or takes back the caller's reaction. */
  "chat:react": (payload: React, ack: (reply: Ack<MessageData>) => void) => void;
  /** Has arrived here up to `seq`; only rises. */
  "chat:delivered": (payload: Mark, ack: (reply: Ack<ReceiptData>) => void) => void;
  /** Has been read up to `seq`; only rises. */
  "chat:read": (payload: Mark, ack: (reply: Ack<ReceiptData>) => void) => void;
  /** A page of messages by sequence. */
  "chat:history": (payload: History, ack: (reply: Ack<HistoryData>) => void) => void;
  /** Messages that have all the words, each as a word or its beginning; newest first. A page is also over when it has looked at enough messages: it may have few items or none and yet a next_cursor. */
  "chat:search": (payload: Search, ack: (reply: Ack<MessageList>) => void) => void;
  /** All that the caller missed since the cursors. `more`: call again with the cursors moved on. */
  "chat:sync": (payload: Sync, ack: (reply: Ack<SyncData>) => void) => void;
  /** Adds people to a group, or removes them. Owners may remove anyone; everyone may remove themselves. */
  "chat:members": (payload: Members, ack: (reply: Ack<ConversationData>) => void) => void;
  /** Changes title and pins for all, muted and archived for the caller. */
  "chat:update": (payload: Update, ack: (reply: Ack<ConversationData>) => void) => void;
  /** Renews this connection's login in place with a newer access token of the same user. One that ends sooner than the connection does changes nothing: the answer says how long the connection has. */
  "auth:refresh": (payload: AuthRefresh, ack: (reply: Ack<AuthRefreshed>) => void) => void;
}

export interface ChatEvents {
  /** A new message, in rising seq per conversation. */
  "chat:message": (payload: MessageData) => void;
  /** A message was edited, deleted or reacted to. May come again after a crash: the highest version is what counts. */
  "chat:message_updated": (payload: MessageData) => void;
  /** Someone's delivered or read mark rose. */
  "chat:receipt": (payload: Receipt) => void;
  /** A conversation is new to you or changed. May come again after a crash, as it is then. */
  "chat:conversation": (payload: ConversationData) => void;
  /** You may have missed messages up to last_seq: fetch what you lack. */
  "chat:head": (payload: Head) => void;
  /** The access token ends in about a minute; send auth:refresh. */
  "auth:expiring": (payload: AuthExpiring) => void;
  /** The session has ended; the server closes the connection next. */
  "auth:revoked": (payload: AuthRevoked) => void;
}

export interface TypingCommands {
  /** Renews this connection's login in place with a newer access token of the same user. One that ends sooner than the connection does changes nothing: the answer says how long the connection has. */
  "auth:refresh": (payload: AuthRefresh, ack: (reply: Ack<AuthRefreshed>) => void) => void;
  /** The caller is writing. Repeat while it lasts; others hear of it at most every 2 s and it expires after 6 s. */
  "typing:start": (payload: Typing, ack: (reply: Ack<Empty>) => void) => void;
  /** The caller stopped writing. */
  "typing:stop": (payload: Typing, ack: (reply: Ack<Empty>) => void) => void;
}

export interface TypingEvents {
  /** The access token ends in about a minute; send auth:refresh. */
  "auth:expiring": (payload: AuthExpiring) => void;
  /** The session has ended; the server closes the connection next. */
  "auth:revoked": (payload: AuthRevoked) => void;
  /** Someone writes in a conversation this connection joined. */
  "typing:start": (payload: TypingChanged) => void;
  /** They stopped, or nothing more was heard of it for 6 s. */
  "typing:stop": (payload: TypingChanged) => void;
}

export interface PresenceCommands {
  /** Renews this connection's login in place with a newer access token of the same user. One that ends sooner than the connection does changes nothing: the answer says how long the connection has. */
  "auth:refresh": (payload: AuthRefresh, ack: (reply: Ack<AuthRefreshed>) => void) => void;
  /** Returns their presence now and sends user:status_change from here on to this connection. */
  "presence:subscribe": (payload: Subscribe, ack: (reply: Ack<Presences>) => void) => void;
  /** Ends subscriptions. */
  "presence:unsubscribe": (payload: Subscribe, ack: (reply: Ack<Empty>) => void) => void;
  /** Chooses how the caller appears, on all devices, until changed. */
  "presence:set": (payload: SetStatus, ack: (reply: Ack<PresenceData>) => void) => void;
}

export interface PresenceEvents {
  /** The access token ends in about a minute; send auth:refresh. */
  "auth:expiring": (payload: AuthExpiring) => void;
  /** The session has ended; the server closes the connection next. */
  "auth:revoked": (payload: AuthRevoked) => void;
  /** Someone subscribed to came, left or changed. */
  "user:status_change": (payload: Presence) => void;
}

export interface OffersCommands {
  /** Renews this connection's login in place with a newer access token of the same user. One that ends sooner than the connection does changes nothing: the answer says how long the connection has. */
  "auth:refresh": (payload: AuthRefresh, ack: (reply: Ack<AuthRefreshed>) => void) => void;
  /** Makes an offer to the other person; they have the first turn. */
  "offer:create": (payload: CreateOffer, ack: (reply: Ack<OfferData>) => void) => void;
  /** Accepts, declines or counters an offer whose turn is the caller's, or withdraws the caller's own. Of several for one version one wins. Accepting with settlement credit holds the total on the buyer's credit in the same step. */
  "offer:respond": (payload: RespondOffer, ack: (reply: Ack<OfferData>) => void) => void;
  /** An accepted offer was fulfilled: what is held, or a part, is owed from here on. */
  "offer:fulfil": (payload: FulfilOffer, ack: (reply: Ack<OfferData>) => void) => void;
  /** An accepted offer will not be fulfilled: what is held is released. */
  "offer:cancel": (payload: CancelOffer, ack: (reply: Ack<OfferData>) => void) => void;
  /** One offer of the caller's. */
  "offer:get": (payload: OfferTarget, ack: (reply: Ack<OfferData>) => void) => void;
  /** The caller's offers, newest change first. */
  "offer:list": (payload: ListOffers, ack: (reply: Ack<OfferList>) => void) => void;
  /** The caller's rules. */
  "offer:rules": (payload: Empty, ack: (reply: Ack<RuleList>) => void) => void;
  /** Makes or changes the caller's rule for an item. The server answers offers by it within a second. */
  "offer:set_rule": (payload: SetRule, ack: (reply: Ack<RuleData>) => void) => void;
  /** Takes a rule away, if it is there. */
  "offer:delete_rule": (payload: RuleTarget, ack: (reply: Ack<Empty>) => void) => void;
  /** How the caller's offers fare. */
  "offer:figures": (payload: GetFigures, ack: (reply: Ack<Figures>) => void) => void;
}

export interface OffersEvents {
  /** The access token ends in about a minute; send auth:refresh. */
  "auth:expiring": (payload: AuthExpiring) => void;
  /** The session has ended; the server closes the connection next. */
  "auth:revoked": (payload: AuthRevoked) => void;
  /** An offer is new or took this step. It comes without its history; keep the highest version. */
  "offer:updated": (payload: OfferUpdate) => void;
}

export interface FinanceCommands {
  /** The caller's balances and credit. */
  "finance:account": (payload: GetAccount, ack: (reply: Ack<AccountData>) => void) => void;
  /** The caller's entries with running balance. */
  "finance:statement": (payload: GetStatement, ack: (reply: Ack<Statement>) => void) => void;
  /** Begins to pay what the caller owes; `finance:payment` tells how it went. */
  "finance:pay": (payload: Pay, ack: (reply: Ack<PaymentData>) => void) => void;
  /** Gives back what the caller was paid, or a part of it, as a new transfer. */
  "finance:refund": (payload: Refund, ack: (reply: Ack<TransferData>) => void) => void;
  /** Objects to a payment of the caller's: what is left of it is held back until an administrator decides. */
  "finance:dispute": (payload: OpenDispute, ack: (reply: Ack<DisputeData>) => void) => void;
  /** What was posted on the caller's account, by period and by counterparty. */
  "finance:summary": (payload: GetSummary, ack: (reply: Ack<Summary>) => void) => void;
  /** Renews this connection's login in place with a newer access token of the same user. One that ends sooner than the connection does changes nothing: the answer says how long the connection has. */
  "auth:refresh": (payload: AuthRefresh, ack: (reply: Ack<AuthRefreshed>) => void) => void;
}

export interface FinanceEvents {
  /** A payment of the user's has gone through, or has expired. */
  "finance:payment": (payload: PaymentData) => void;
  /** A dispute of the user's, or against them, is new or decided. */
  "finance:dispute": (payload: DisputeData) => void;
  /** A transfer moved one of the user's accounts, or their limit. */
  "finance:credit_changed": (payload: CreditChanged) => void;
  /** The access token ends in about a minute; send auth:refresh. */
  "auth:expiring": (payload: AuthExpiring) => void;
  /** The session has ended; the server closes the connection next. */
  "auth:revoked": (payload: AuthRevoked) => void;
}

export interface SystemCommands {
  /** The caller's notifications, newest first. */
  "notification:list": (payload: ListNotifications, ack: (reply: Ack<NotificationList>) => void) => void;
  /** Marks them read. */
  "notification:read": (payload: ReadNotifications, ack: (reply: Ack<NotificationsRead>) => void) => void;
  /** Tells the caller's preferences, and changes them when fields are sent. */
  "notification:preferences": (payload: SetPreferences, ack: (reply: Ack<PreferencesData>) => void) => void;
  /** Renews this connection's login in place with a newer access token of the same user. One that ends sooner than the connection does changes nothing: the answer says how long the connection has. */
  "auth:refresh": (payload: AuthRefresh, ack: (reply: Ack<AuthRefreshed>) => void) => void;
}

export interface SystemEvents {
  /** Something the user should know. */
  "system:notification": (payload: NotificationEvent) => void;
  /** This server process goes and closes the connection now (1012); connect again after the time it says. */
  "system:draining": (payload: Draining) => void;
  /** The access token ends in about a minute; send auth:refresh. */
  "auth:expiring": (payload: AuthExpiring) => void;
  /** The session has ended; the server closes the connection next. */
  "auth:revoked": (payload: AuthRevoked) => void;
}
