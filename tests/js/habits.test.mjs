// What people's clients and their habits do, with the real socket.io-client: PARLEY_URL=… node --test tests/js/habits.test.mjs
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Manager } from 'socket.io-client'

const SERVER = process.env.PARLEY_URL
const RUN = randomBytes(5).toString('hex')
const PASSWORD = 'correct horse battery'
const managers = []
let ada, ben, sender, conversation, number = 0

async function register(name) {
  const body = JSON.stringify({ email: `${name.toLowerCase()}-${RUN}@habits.example`, password: PASSWORD, name })
  const headers = { 'content-type': 'application/json' }
  const { user, tokens } = await (await fetch(`${SERVER}/api/v1/auth/register`, { method: 'POST', headers, body })).json()
  return { ...user, token: tokens.access_token }
}

function manager(options = {}) {
  const made = new Manager(SERVER, { transports: ['websocket'], autoConnect: false, reconnectionDelay: 50, ...options })
  managers.push(made)
  return made
}

/** A socket and what it heard: texts of messages, and how each connect went. */
function open(on, name, token) {
  const socket = on.socket(name, { auth: { token } })
  const heard = { texts: [], connects: [], refusals: [], offsets: 0, disconnects: 0 }
  socket.on('connect', () => heard.connects.push({ id: socket.id, recovered: socket.recovered }))
  socket.on('connect_error', error => heard.refusals.push(error.data?.code ?? error.message))
  socket.on('disconnect', () => heard.disconnects++)
  socket.on('chat:message', (payload, ...more) => {
    heard.texts.push(payload.message.text)
    heard.offsets += more.length
  })
  return { socket, heard }
}

async function until(true_, what, ms = 15_000) {
  const end = Date.now() + ms
  while (!true_()) {
    if (Date.now() > end) throw new Error(`in vain: ${what}`)
    await pause(5)
  }
}

async function call(socket, event, payload) {
  const answer = await socket.timeout(10_000).emitWithAck(event, payload)
  assert.equal(answer.ok, true, JSON.stringify(answer.error))
  return answer.data
}

const send = text =>
  call(sender, 'chat:send', { conversation_id: conversation.id, client_id: `${RUN}-${++number}`, text })

/** Everything that was sent before it has come by the time this one has. */
async function settled(heard) {
  const text = `last ${++number}`
  await send(text)
  await until(() => heard.texts.includes(text), text)
}

before(async () => {
  ;[ada, ben] = await Promise.all([register('Ada'), register('Ben')])
  sender = open(manager(), '/chat', ben.token).socket.connect()
  const made = { type: 'direct', participant_ids: [ada.id], client_id: `${RUN}-direct` }
  conversation = (await call(sender, 'chat:create', made)).conversation
})

after(() => managers.forEach(one => one._close()))

describe('a second CONNECT on a namespace', () => {
  const ways = {
    'connect, disconnect, connect, as StrictMode does': socket => socket.connect().disconnect().connect(),
    'connect twice': socket => socket.connect().connect(),
    'five times in a row': socket => { for (let n = 0; n < 5; n++) socket.connect().disconnect(); socket.connect() },
  }
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    for (const [name, way] of Object.entries(ways)) {
      it(`${name}, by ${transports.join(' then ')}: it works, and each event comes once`, async () => {
        const shared = manager({ transports })
        const other = open(shared, '/system', ada.token) // keeps the manager open
        other.socket.connect()
        await until(() => other.heard.connects.length, 'the other namespace')
        const { socket, heard } = open(shared, '/chat', ada.token)
        way(socket)
        await until(() => heard.connects.length >= 1, 'a connect')
        const ack = await socket.timeout(10_000).emitWithAck('chat:join', { conversation_id: conversation.id })
        assert.equal(ack.ok, true, JSON.stringify(ack))
        const text = `once ${++number}`
        await send(text)
        await settled(heard)
        assert.deepEqual(heard.texts.filter(one => one === text), [text])
        assert.deepEqual([heard.refusals, other.heard.refusals, other.heard.disconnects], [[], [], 0])
        assert.ok(socket.connected && other.socket.connected)
        shared._close()
      })
    }
  }
})

describe('who recovers by default', () => {
  const agents = {
    'Node': {},
    'Node without compression, and so React Native on iOS without Origin': { perMessageDeflate: false },
    'React Native on iOS': { perMessageDeflate: false, extraHeaders: { Origin: SERVER } },
    'React Native on Android': {
      extraHeaders: { Origin: SERVER, 'User-Agent': 'okhttp/4.12.0', 'Accept-Encoding': 'gzip' },
    },
    'Expo on iOS': { perMessageDeflate: false, extraHeaders: { 'User-Agent': 'Expo/1017699 CFNetwork/1498.700.2 Darwin/23.6.0' } },
    'Chrome': {
      extraHeaders: {
        Origin: SERVER, 'Accept-Encoding': 'gzip, deflate, br', 'Accept-Language': 'en', 'Cache-Control': 'no-cache',
        'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
      },
    },
    'one that is told to, whatever it calls itself': { query: { recovery: '1' }, extraHeaders: { 'User-Agent': 'python' } },
  }
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    for (const [name, options] of Object.entries(agents)) {
      it(`${name}, by ${transports.join(' then ')}`, async () => {
        const one = manager({ transports, ...options })
        const { socket, heard } = open(one, '/chat', ada.token)
        socket.connect()
        await until(() => heard.connects.length, 'a connect')
        await settled(heard)
        const texts = heard.texts.length
        one.engine.close()
        await until(() => heard.disconnects, 'a disconnect')
        const missed = `missed ${++number}`
        await send(missed)
        await until(() => heard.connects.length === 2, 'a second connect')
        await settled(heard)
        assert.equal(heard.connects[1].recovered, true)
        assert.deepEqual(heard.texts.slice(texts).filter(text => text === missed), [missed])
        one._close()
      })
    }
  }

  it('not one that is told not to', async () => {
    const { socket, heard } = open(manager({ query: { recovery: '0' } }), '/chat', ada.token)
    socket.connect()
    await until(() => heard.connects.length, 'a connect')
    await settled(heard)
    assert.equal(heard.offsets, 0)
    socket.io._close()
  })
})

describe('half an emoji', () => {
  it('is refused by itself, and every namespace goes on, with retries too', async () => {
    const shared = manager({ retries: 2, ackTimeout: 5_000 })
    const other = open(shared, '/offers', ada.token)
    const socket = shared.socket('/chat', { auth: { token: ada.token }, retries: 2, ackTimeout: 5_000 })
    other.socket.connect()
    socket.connect()
    const payload = { conversation_id: conversation.id, client_id: `${RUN}-half`, text: 'I agree 👍'.slice(0, 9) }
    const refused = await socket.emitWithAck('chat:send', payload)
    assert.equal(refused.error?.code, 'validation_failed', JSON.stringify(refused))
    assert.deepEqual(refused.error.details.map(({ field }) => field), ['text'])
    const whole = await socket.emitWithAck('chat:send', { ...payload, text: 'I agree 👍' })
    assert.equal(whole.ok, true)
    assert.equal(other.heard.disconnects, 0)
    shared._close()
  })
})
