// The contract as the real socket.io-client sees it: `PARLEY_URL=http://127.0.0.1:8000 node --test tests/js/`.
// With PARLEY_EXPIRED_TOKEN (an access token whose time is over) the refusal of expired tokens is shown too.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Manager } from 'socket.io-client'

const SERVER = process.env.PARLEY_URL ?? 'http://127.0.0.1:8000'
const RUN = randomBytes(5).toString('hex').replace(/\d/g, digit => 'ghijklmnop'[digit]) // letters only: one search word
const PASSWORD = 'correct horse battery'
const NAMESPACES = ['chat', 'typing', 'presence', 'system']
const NAMESPACE_OF = { notification: 'system' }
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const devices = []
let made = 0
const clientId = () => `${RUN}-${++made}`

async function rest(method, path, { body, token, headers = {} } = {}) {
  const all = { ...headers }
  if (body) all['content-type'] = 'application/json'
  if (token) all.authorization = `Bearer ${token}`
  const response = await fetch(SERVER + path, { method, headers: all, body: body && JSON.stringify(body) })
  const answer = response.status === 204 ? null : await response.json()
  if (response.status === 429) {
    await pause(answer.error.retry_after_ms)
    return rest(method, path, { body, token, headers })
  }
  return { status: response.status, headers: response.headers, body: answer }
}

async function register(name) {
  const email = `${name.toLowerCase()}-${RUN}@client.example`
  const { status, body } = await rest('POST', '/api/v1/auth/register', { body: { email, password: PASSWORD, name } })
  assert.equal(status, 201, JSON.stringify(body))
  return { ...body.user, token: body.tokens.access_token, email }
}

/** One connection: a Manager with all namespaces on it, and a log of every event heard and not yet asked for. */
class Device {
  heard = []
  waiting = []

  constructor(token, { transports = ['websocket'], namespaces = NAMESPACES } = {}) {
    const delays = { reconnectionDelay: 50, reconnectionDelayMax: 200 }
    this.manager = new Manager(SERVER, { transports, autoConnect: false, ...delays })
    for (const name of namespaces) {
      this[name] = this.manager.socket(`/${name}`, { auth: { token, device_id: clientId() } })
      this[name].onAny((event, payload) => this.note(event, payload, name))
      for (const event of ['connect', 'disconnect', 'connect_error']) {
        this[name].on(event, payload => this.note(event, payload, name))
      }
    }
    this.namespaces = namespaces
    devices.push(this)
  }

  static async open(token, options) {
    const device = new Device(token, options)
    await device.connect()
    return device
  }

  async connect() {
    this.manager.reconnection(true)
    for (const name of this.namespaces) this[name].connect()
    await Promise.all(this.namespaces.map(name => this.next('connect', (_, from) => from === name)))
  }

  /** The network goes away without a goodbye. `stay` keeps it away until connect(). */
  async drop({ stay }) {
    this.manager.reconnection(!stay)
    this.manager.engine.close()
    await Promise.all(this.namespaces.map(name => this.next('disconnect', (_, from) => from === name)))
  }

  note(event, payload, from) {
    const entry = { event, payload, from }
    const waiter = this.waiting.find(one => one.wants(entry))
    if (!waiter) return this.heard.push(entry)
    this.waiting.splice(this.waiting.indexOf(waiter), 1)
    waiter.resolve(payload)
  }

  /** The first such event that was not asked for before, heard already or to come. */
  next(event, where = () => true, timeout = 10_000) {
    const wants = entry => entry.event === event && where(entry.payload, entry.from)
    const index = this.heard.findIndex(wants)
    if (index >= 0) return Promise.resolve(this.heard.splice(index, 1)[0].payload)
    return new Promise((resolve, reject) => {
      const waiter = { wants, resolve: payload => (clearTimeout(timer), resolve(payload)) }
      const timer = setTimeout(() => reject(new Error(`no ${event} within ${timeout} ms`)), timeout)
      this.waiting.push(waiter)
    })
  }

  message(id) {
    return this.next('chat:message', ({ message }) => message.id === id)
  }

  /** Absence means something only after a later event of the same connection has arrived. */
  none(event, where = () => true) {
    assert.deepEqual(this.heard.filter(entry => entry.event === event && where(entry.payload)), [])
  }

  async ack(command, payload, namespace) {
    const prefix = command.split(':')[0]
    const answer = await this[namespace ?? NAMESPACE_OF[prefix] ?? prefix].timeout(15_000).emitWithAck(command, payload)
    if (answer.error?.code !== 'rate_limited') return answer
    await pause(answer.error.retry_after_ms)
    return this.ack(command, payload, namespace)
  }

  async call(command, payload) {
    const answer = await this.ack(command, payload)
    assert.equal(answer.ok, true, `${command}: ${JSON.stringify(answer.error)}`)
    return answer.data
  }

  async fails(command, payload, codes, namespace) {
    const { ok, error } = await this.ack(command, payload, namespace)
    assert.equal(ok, false, `${command} was accepted`)
    isError(error)
    assert.ok([codes].flat().includes(error.code), `${command}: ${error.code}, expected ${codes}`)
    return error
  }

  async send(conversation, text, more = {}) {
    const payload = { conversation_id: conversation.id, client_id: clientId(), text, ...more }
    return (await this.call('chat:send', payload)).message
  }

  async create(type, others, more = {}) {
    const payload = { type, participant_ids: others.map(({ id }) => id), client_id: clientId(), ...more }
    return (await this.call('chat:create', payload)).conversation
  }

  async find(conversation) {
    return (await this.call('chat:list', { limit: 200 })).items.find(({ id }) => id === conversation.id)
  }
}

function hasKeys(object, names) {
  assert.deepEqual(Object.keys(object).sort(), names.split(' '))
}

function isError(error) {
  hasKeys(error, 'code details message request_id retry_after_ms retryable')
  assert.ok(error.message && error.request_id)
  assert.equal(typeof error.retryable, 'boolean')
}

const MESSAGE = 'attachments client_id conversation_id created_at deleted_at edited_at id kind mentions ' +
  'reactions reply_to sender_id seq text version'
const CONVERSATION = 'archived created_at id last_message last_seq muted participants pinned_message_ids ' +
  'title type unread updated_at'
const PRESENCE = 'last_seen_at status text user_id'
const NOT_YOURS = ['not_found', 'not_a_participant']

function isMessage(message, expected = {}) {
  hasKeys(message, MESSAGE)
  assert.match(message.created_at, TIME)
  assert.ok(Number.isInteger(message.seq) && message.seq >= 1)
  for (const [name, value] of Object.entries(expected)) assert.deepEqual(message[name], value, name)
}

function isConversation(conversation, people) {
  hasKeys(conversation, CONVERSATION)
  assert.match(conversation.updated_at, TIME)
  assert.deepEqual(conversation.participants.map(one => one.user_id).sort(), people.map(({ id }) => id).sort())
  for (const one of conversation.participants) {
    hasKeys(one, 'delivered_seq joined_seq name read_seq role user_id')
    assert.ok(['owner', 'member'].includes(one.role))
  }
}

describe('Parley through socket.io-client', { timeout: 180_000 }, () => {
  let amara, ravi, lena // people
  let a1, b1, b2, c1 // their devices; b1 and b2 are both Ravi's
  let direct, group

  before(async () => {
    [amara, ravi, lena] = [await register('Amara'), await register('Ravi'), await register('Lena')]
    const tokens = [amara, ravi, ravi, lena].map(({ token }) => token)
    ;[a1, b1, b2, c1] = await Promise.all(tokens.map(token => Device.open(token)))
  })

  after(() => {
    for (const device of devices) {
      device.manager.reconnection(false)
      for (const name of device.namespaces) device[name].disconnect()
    }
  })

  it('makes a direct conversation once', async () => {
    direct = await a1.create('direct', [ravi])
    isConversation(direct, [amara, ravi])
    assert.equal(direct.type, 'direct')
    assert.equal(direct.unread, 0)
    const told = await b1.next('chat:conversation', ({ conversation }) => conversation.id === direct.id)
    isConversation(told.conversation, [amara, ravi])
    assert.equal((await b1.create('direct', [amara])).id, direct.id)
  })

  it('delivers to the other person and to other devices, not to the sending connection', async () => {
    const sent = await b1.send(direct, 'forty crates?')
    const untouched = { kind: 'text', deleted_at: null, edited_at: null, reactions: {}, attachments: [] }
    isMessage(sent, { sender_id: ravi.id, text: 'forty crates?', ...untouched })
    for (const device of [a1, b2]) assert.deepEqual((await device.message(sent.id)).message, sent)
    const answer = await a1.send(direct, 'thirty', { reply_to: sent.id, mentions: [ravi.id] })
    isMessage(answer, { reply_to: sent.id, mentions: [ravi.id], seq: sent.seq + 1 })
    await b1.message(answer.id)
    b1.none('chat:message', ({ message }) => message.id === sent.id)
  })

  it('recognises a repeat by its client_id and refuses another payload under it', async () => {
    const payload = { conversation_id: direct.id, client_id: clientId(), text: 'once' }
    const first = await a1.call('chat:send', payload)
    assert.ok(!first.duplicate)
    const again = await a1.call('chat:send', payload)
    assert.equal(again.duplicate, true)
    assert.deepEqual(again.message, first.message)
    await a1.fails('chat:send', { ...payload, text: 'twice' }, 'idempotency_mismatch')
    const next = await a1.send(direct, 'next')
    assert.equal(next.seq, first.message.seq + 1)
    await b1.message(first.message.id)
    await b1.message(next.id)
    b1.none('chat:message', ({ message }) => message.id === first.message.id)
  })

  it('takes a send over REST and tells every connection', async () => {
    const path = `/api/v1/chat/conversations/${direct.id}/messages`
    const request = { body: { text: 'by post' }, token: amara.token, headers: { 'idempotency-key': clientId() } }
    const { status, headers, body } = await rest('POST', path, request)
    assert.equal(status, 201, JSON.stringify(body))
    assert.ok(headers.get('x-request-id') && headers.get('x-process-time'))
    isMessage(body, { text: 'by post', sender_id: amara.id })
    for (const device of [a1, b1, b2]) assert.equal((await device.message(body.id)).message.text, 'by post')
    assert.equal((await rest('POST', path, request)).body.id, body.id)
  })

  it('shows typing only to connections that joined, throttled', async () => {
    const here = { conversation_id: direct.id }
    for (const device of [a1, b1]) {
      const opened = await device.call('chat:join', here)
      isConversation(opened.conversation, [amara, ravi])
      assert.equal(opened.messages.at(-1).seq, opened.conversation.last_seq)
      assert.equal(typeof opened.has_more, 'boolean')
    }
    for (let i = 0; i < 3; i++) await a1.call('typing:start', here)
    const started = await b1.next('typing:start')
    hasKeys(started, 'conversation_id expires_in_ms user_id')
    assert.deepEqual([started.conversation_id, started.user_id], [direct.id, amara.id])
    assert.ok(started.expires_in_ms > 0 && started.expires_in_ms <= 6000)
    await a1.call('typing:stop', here)
    assert.equal((await b1.next('typing:stop')).user_id, amara.id)
    b1.none('typing:start')
    await b2.message((await a1.send(direct, 'typed')).id)
    for (const device of [a1, b2]) device.none('typing:start')
    await c1.fails('typing:start', here, NOT_YOURS)
    await b1.call('chat:leave', here)
  })

  it('ends a typing mark that nobody renews', async () => {
    const here = { conversation_id: direct.id }
    await b2.call('chat:join', here)
    await a1.call('typing:start', here)
    await b2.next('typing:start')
    assert.equal((await b2.next('typing:stop')).expires_in_ms, 0)
    await b2.call('chat:leave', here)
  })

  it('raises delivered and read marks, never lowers them, and counts the unread', async () => {
    const sent = []
    for (const text of ['one', 'two', 'three']) sent.push(await a1.send(direct, text))
    const [first, second, third] = sent.map(({ seq }) => seq)
    const mark = (name, seq) => b1.call(`chat:${name}`, { conversation_id: direct.id, seq })
    const { receipt } = await mark('delivered', third)
    assert.equal(receipt.delivered_seq, third)
    const rose = seq => told => told.user_id === ravi.id && told.read_seq === seq
    const arrived = told => told.user_id === ravi.id && told.delivered_seq === third
    const told = await a1.next('chat:receipt', arrived)
    assert.equal(told.conversation_id, direct.id)
    await mark('read', first)
    await a1.next('chat:receipt', rose(first))
    await b2.next('chat:receipt', rose(first))
    assert.equal((await b1.find(direct)).unread, 2)
    assert.equal((await mark('read', second)).receipt.read_seq, second)
    assert.equal((await mark('read', first)).receipt.read_seq, second)
    assert.equal((await mark('delivered', first)).receipt.delivered_seq, third)
    await mark('read', third)
    await a1.next('chat:receipt', rose(third))
    assert.equal(a1.heard.filter(({ event, payload }) => event === 'chat:receipt' && rose(second)(payload)).length, 1)
    a1.none('chat:receipt', ({ user_id, read_seq }) => user_id === ravi.id && read_seq === first)
    assert.equal((await b1.find(direct)).unread, 0)
    const after = await a1.send(direct, 'read this and it counts as delivered')
    const { receipt: both } = await mark('read', after.seq)
    assert.deepEqual([both.delivered_seq, both.read_seq], [after.seq, after.seq])
  })

  it('pages through history both ways', async () => {
    const whole = await b1.call('chat:history', { conversation_id: direct.id, after_seq: 0, limit: 200 })
    const seqs = whole.messages.map(({ seq }) => seq)
    assert.deepEqual(seqs, seqs.map((_, index) => index + 1))
    assert.equal(whole.has_more, false)
    whole.messages.forEach(message => isMessage(message))
    const before = await b1.call('chat:history', { conversation_id: direct.id, before_seq: 7, limit: 3 })
    assert.deepEqual(before.messages, whole.messages.slice(3, 6))
    assert.equal(before.has_more, true)
    const afterwards = await b1.call('chat:history', { conversation_id: direct.id, after_seq: 4, limit: 2 })
    assert.deepEqual(afterwards.messages, whole.messages.slice(4, 6))
    assert.equal(afterwards.has_more, true)
    assert.equal((await b1.call('chat:history', { conversation_id: direct.id, before_seq: 3 })).has_more, false)
    const { details } = await b1.fails('chat:history', { conversation_id: direct.id, limit: 201 }, 'validation_failed')
    assert.equal(details[0].field, 'limit')
    await c1.fails('chat:history', { conversation_id: direct.id }, NOT_YOURS)
  })

  it('syncs exactly what was missed after an abrupt drop', async () => {
    const old = await a1.send(direct, 'before the drop')
    await b1.message(old.id)
    const cursors = {}
    for (const { id, last_seq } of (await b1.call('chat:list', { limit: 200 })).items) cursors[id] = last_seq
    const { synced_at } = await b1.call('chat:sync', { cursors })
    assert.match(synced_at, TIME)
    await b1.drop({ stay: true })
    const missed = []
    for (const text of ['missed 1', 'missed 2', 'missed 3']) missed.push(await a1.send(direct, text))
    const { message: changed } = await a1.call('chat:edit', { message_id: old.id, text: 'changed meanwhile' })
    const fresh = await a1.create('group', [ravi], { title: 'Made meanwhile' })
    const greeting = await a1.send(fresh, 'welcome')
    await b1.connect()
    const found = new Map()
    for (let more = true; more;) {
      const page = await b1.call('chat:sync', { cursors, changed_since: synced_at })
      for (const { conversation, messages, changed: older, has_more } of page.conversations) {
        const entry = found.get(conversation.id) ?? { messages: [], changed: new Map() }
        entry.messages.push(...messages)
        for (const message of older) entry.changed.set(message.id, message)
        found.set(conversation.id, entry)
        cursors[conversation.id] = messages.at(-1)?.seq ?? cursors[conversation.id] ?? 0
        assert.equal(typeof has_more, 'boolean')
      }
      more = page.more
    }
    assert.deepEqual(found.get(direct.id).messages, missed)
    assert.deepEqual([...found.get(direct.id).changed.values()], [changed])
    assert.ok(found.get(fresh.id).messages.some(({ id }) => id === greeting.id))
    const concerned = [...found].filter(([, { messages }]) => messages.length).map(([id]) => id)
    assert.deepEqual(concerned.sort(), [direct.id, fresh.id].sort())
    const alive = await a1.send(direct, 'and on it goes')
    await b1.message(alive.id)
  })

  it('edits, and only for the sender', async () => {
    const sent = await a1.send(direct, 'ten')
    const { message } = await a1.call('chat:edit', { message_id: sent.id, text: 'eleven' })
    isMessage(message, { id: sent.id, seq: sent.seq, text: 'eleven', created_at: sent.created_at })
    assert.ok(message.version > sent.version)
    assert.match(message.edited_at, TIME)
    const told = await b1.next('chat:message_updated', ({ message: { id } }) => id === sent.id)
    assert.deepEqual(told.message, message)
    await b1.fails('chat:edit', { message_id: sent.id, text: 'twelve' }, 'forbidden')
    await c1.fails('chat:edit', { message_id: sent.id, text: 'twelve' }, NOT_YOURS)
  })

  it('deletes and leaves a tombstone', async () => {
    const sent = await a1.send(direct, 'a slip of the tongue')
    const { message } = await a1.call('chat:delete', { message_id: sent.id })
    isMessage(message, { id: sent.id, seq: sent.seq })
    assert.ok(!message.text && message.version > sent.version)
    assert.match(message.deleted_at, TIME)
    const told = await b1.next('chat:message_updated', ({ message: { id } }) => id === sent.id)
    assert.deepEqual(told.message, message)
    const page = await b1.call('chat:history', { conversation_id: direct.id, after_seq: sent.seq - 1, limit: 1 })
    assert.deepEqual(page.messages, [message])
    await a1.fails('chat:edit', { message_id: sent.id, text: 'no, wait' }, 'message_deleted')
  })

  it('puts a reaction on and takes it off', async () => {
    const sent = await a1.send(direct, 'deal?')
    const react = on => b1.call('chat:react', { message_id: sent.id, emoji: '🤝', on })
    const { message: liked } = await react(true)
    assert.deepEqual(liked.reactions, { '🤝': [ravi.id] })
    const told = await a1.next('chat:message_updated', ({ message: { id } }) => id === sent.id)
    assert.deepEqual(told.message, liked)
    assert.deepEqual((await react(true)).message.reactions, { '🤝': [ravi.id] })
    const { message: plain } = await react(false)
    assert.deepEqual(plain.reactions, {})
    assert.ok(plain.version > liked.version)
  })

  it('searches by words and their beginnings, never across strangers', async () => {
    const word = `zephyr${RUN}`
    const sent = await a1.send(direct, `Our ${word} shipment leaves on Monday`)
    for (const query of [word, word.slice(0, 9), `monday ${word}`, word.toUpperCase()]) {
      const { items, next_cursor } = await b1.call('chat:search', { query })
      assert.deepEqual(items.map(({ id }) => id), [sent.id], query)
      assert.equal(next_cursor, null)
      isMessage(items[0], { text: sent.text })
    }
    assert.deepEqual((await b1.call('chat:search', { query: `${word} tuesday` })).items, [])
    assert.deepEqual((await c1.call('chat:search', { query: word })).items, [])
    await c1.fails('chat:search', { query: word, conversation_id: direct.id }, NOT_YOURS)
    await a1.call('chat:delete', { message_id: sent.id })
    assert.deepEqual((await b1.call('chat:search', { query: word })).items, [])
  })

  it('adds and removes members of a group', async () => {
    group = await a1.create('group', [ravi], { title: 'Spring stock' })
    const roles = Object.fromEntries(group.participants.map(({ user_id, role }) => [user_id, role]))
    assert.deepEqual(roles, { [amara.id]: 'owner', [ravi.id]: 'member' })
    const about = ({ conversation }) => conversation.id === group.id
    await c1.fails('chat:send', { conversation_id: group.id, client_id: clientId(), text: 'hi' }, NOT_YOURS)
    const { conversation } = await a1.call('chat:members', { conversation_id: group.id, add: [lena.id] })
    isConversation(conversation, [amara, ravi, lena])
    isConversation((await c1.next('chat:conversation', about)).conversation, [amara, ravi, lena])
    await c1.message((await a1.send(group, 'welcome, Lena')).id)
    await b1.message((await c1.send(group, 'thank you')).id)
    await b1.fails('chat:members', { conversation_id: group.id, remove: [lena.id] }, 'forbidden')
    const left = await a1.call('chat:members', { conversation_id: group.id, remove: [lena.id] })
    isConversation(left.conversation, [amara, ravi])
    const secret = await a1.send(group, 'without Lena')
    const aside = await a1.create('direct', [lena])
    await c1.message((await a1.send(aside, 'between us')).id)
    c1.none('chat:message', ({ message }) => message.id === secret.id)
    await c1.fails('chat:send', { conversation_id: group.id, client_id: clientId(), text: 'hello?' }, NOT_YOURS)
  })

  it('changes the title for all, muted and archived for the caller, pins for all', async () => {
    const pinned = await a1.send(group, 'price list')
    const update = fields => a1.call('chat:update', { conversation_id: group.id, ...fields })
    assert.equal((await update({ title: 'Summer stock' })).conversation.title, 'Summer stock')
    const renamed = ({ conversation: { id, title } }) => id === group.id && title === 'Summer stock'
    await b1.next('chat:conversation', renamed)
    const { conversation: mine } = await update({ muted: true, archived: true, pinned_message_ids: [pinned.id] })
    assert.deepEqual([mine.muted, mine.archived, mine.pinned_message_ids], [true, true, [pinned.id]])
    const theirs = await b1.find(group)
    assert.deepEqual([theirs.muted, theirs.archived, theirs.pinned_message_ids], [false, false, [pinned.id]])
    const { conversation: back } = await update({ muted: false, archived: false })
    assert.deepEqual([back.muted, back.archived, back.title], [false, false, 'Summer stock'])
  })

  it('lists conversations page by page, newest activity first', async () => {
    await a1.send(direct, 'on top')
    const whole = (await a1.call('chat:list', { limit: 200 })).items
    assert.equal(whole[0].id, direct.id)
    assert.ok(whole.length >= 3)
    const paged = []
    for (let cursor; cursor !== null;) {
      const page = await a1.call('chat:list', { limit: 2, ...(cursor && { cursor }) })
      assert.ok(page.items.length <= 2)
      paged.push(...page.items)
      cursor = page.next_cursor
    }
    assert.deepEqual(paged.map(({ id }) => id), whole.map(({ id }) => id))
    assert.equal(whole[0].last_message.text, 'on top')
  })

  it('announces presence to those who share a conversation, with a grace for blips', async () => {
    const { presences } = await a1.call('presence:subscribe', { user_ids: [lena.id, ravi.id] })
    const status = Object.fromEntries(presences.map(one => [one.user_id, one.status]))
    assert.deepEqual(status, { [lena.id]: 'online', [ravi.id]: 'online' })
    presences.forEach(one => hasKeys(one, PRESENCE))
    const isLena = wanted => one => one.user_id === lena.id && one.status === wanted
    const change = wanted => a1.next('user:status_change', isLena(wanted), 15_000)
    await c1.call('presence:set', { status: 'away', text: 'at the market' })
    const away = await change('away')
    hasKeys(away, PRESENCE)
    assert.equal(away.text, 'at the market')
    await c1.call('presence:set', { status: 'online', text: null })
    await change('online')
    await c1.drop({ stay: false })
    await c1.connect()
    await pause(6_000) // that nothing is announced can only be waited out
    await c1.call('presence:set', { status: 'dnd' })
    await change('dnd')
    a1.none('user:status_change', isLena('offline'))
    await b1.drop({ stay: true }) // Ravi's other device stays, so Ravi does
    const dropped = performance.now()
    await c1.drop({ stay: true })
    assert.match((await change('offline')).last_seen_at, TIME)
    assert.ok(performance.now() - dropped > 4_500, 'no grace')
    a1.none('user:status_change', one => one.user_id === ravi.id && one.status === 'offline')
    await Promise.all([b1.connect(), c1.connect()])
    await change('dnd') // what a person chose outlives the connection
    await c1.call('presence:set', { status: 'online' })
    await change('online')
  })

  it('hides presence from strangers', async () => {
    const answer = await b1.ack('presence:subscribe', { user_ids: [lena.id] })
    if (answer.ok) assert.ok(!answer.data.presences.some(one => one.user_id === lena.id))
    else isError(answer.error)
    await a1.call('presence:subscribe', { user_ids: [lena.id] })
    await c1.call('presence:set', { status: 'away' })
    await a1.next('user:status_change', one => one.user_id === lena.id && one.status === 'away')
    await b1.message((await a1.send(direct, 'a later event')).id)
    b1.none('user:status_change', one => one.user_id === lena.id)
  })

  it('lists notifications and marks them read', async () => {
    const told = await c1.next('system:notification')
    const { items, next_cursor } = await c1.call('notification:list', {})
    assert.ok(items.some(({ id }) => id === told.notification.id))
    assert.equal(next_cursor, null)
    for (const item of items) {
      hasKeys(item, 'body created_at data id kind read_at title')
      assert.match(item.created_at, TIME)
    }
    await c1.call('notification:read', { ids: [items[0].id] })
    await c1.call('notification:read', { all: true })
    for (const item of (await c1.call('notification:list', {})).items) assert.match(item.read_at, TIME)
  })

  it('acknowledges what it does not know', async () => {
    for (const [command, namespace] of [['chat:dance', 'chat'], ['chat:send', 'typing'], ['nonsense', 'system']]) {
      await a1.fails(command, {}, 'unknown_command', namespace)
    }
    const payload = { conversation_id: direct.id, client_id: clientId(), text: 'hi', colour: 'red' }
    const { details } = await a1.fails('chat:send', payload, 'validation_failed')
    assert.equal(details.length, 1)
    hasKeys(details[0], 'field reason')
    assert.equal(details[0].field, 'colour')
    await a1.fails('chat:send', { conversation_id: direct.id }, 'validation_failed')
    await a1.fails('chat:send', 'not an object', 'validation_failed')
    await a1.fails('chat:send', undefined, 'validation_failed')
  })

  it('connects by polling and upgrades', async () => {
    const device = new Device(amara.token, { transports: ['polling', 'websocket'], namespaces: ['chat'] })
    device.manager.on('open', () => {
      assert.equal(device.manager.engine.transport.name, 'polling')
      device.manager.engine.once('upgrade', ({ name }) => device.note('upgraded', name, 'engine'))
    })
    await device.connect()
    assert.equal(await device.next('upgraded'), 'websocket')
    await device.message((await b1.send(direct, 'over the upgraded transport')).id)
    await b1.message((await device.send(direct, 'and back')).id)
  })

  it('refuses connections without a good token and says why', async () => {
    const refusal = async (token, code) => {
      const device = new Device(token, { namespaces: ['chat', 'presence'] })
      for (const name of device.namespaces) device[name].connect()
      for (const name of device.namespaces) {
        const error = await device.next('connect_error', (_, from) => from === name)
        assert.ok(error.message)
        isError(error.data)
        assert.equal(error.data.code, code)
      }
    }
    const encode = part => Buffer.from(JSON.stringify(part)).toString('base64url')
    const unsigned = `${encode({ alg: 'none', typ: 'at+jwt' })}.${encode({ sub: amara.id, exp: 4e9 })}.`
    await refusal(undefined, 'unauthenticated')
    await refusal('garbage', 'token_invalid')
    await refusal(unsigned, 'token_invalid')
    await refusal(`${amara.token.slice(0, -4)}AAAA`, 'token_invalid')
  })

  const expired = process.env.PARLEY_EXPIRED_TOKEN
  it('refuses an expired token', { skip: !expired && 'PARLEY_EXPIRED_TOKEN is not set' }, async () => {
    const device = new Device(expired, { namespaces: ['chat'] })
    device.chat.connect()
    const { data } = await device.next('connect_error')
    isError(data)
    assert.equal(data.code, 'token_expired')
    assert.equal(data.retryable, true)
  })

  it('tells a revoked session and closes it, and no other', async () => {
    const login = { email: lena.email, password: PASSWORD, device: { id: 'phone', name: 'Phone', platform: 'test' } }
    const { body } = await rest('POST', '/api/v1/auth/login', { body: login })
    const token = body.tokens.access_token
    const phone = await Device.open(token)
    const { body: sessions } = await rest('GET', '/api/v1/auth/sessions', { token })
    const session = sessions.items.find(({ current }) => current)
    assert.equal(session.device.name, 'Phone')
    const revoked = await rest('DELETE', `/api/v1/auth/sessions/${session.id}`, { token: lena.token })
    assert.equal(revoked.status, 204)
    await toldThenClosed(phone)
    assert.equal((await c1.call('chat:list', {})).items.length > 0, true)
    const late = new Device(token, { namespaces: ['chat'] })
    late.chat.connect()
    assert.equal((await late.next('connect_error')).data.code, 'session_revoked')
    assert.equal((await rest('POST', '/api/v1/auth/logout', { token: lena.token })).status, 204)
    await toldThenClosed(c1)
  })

  async function toldThenClosed(device) {
    await device.next('disconnect', (_, from) => from === 'chat')
    // Both are in the order they were heard in: the word must come first.
    const { reason } = await device.next('auth:revoked', undefined, 0)
    assert.equal(typeof reason, 'string')
  }
})
