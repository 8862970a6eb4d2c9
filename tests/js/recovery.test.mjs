// Connection state recovery as the real socket.io-client sees it. URLS: servers of one deployment, comma-separated;
// the client comes back to each in turn. AWAY_MS: how long it is cut off.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import net from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Manager } from 'socket.io-client'

const URLS = process.env.URLS.split(',')
const AWAY_MS = Number(process.env.AWAY_MS ?? 1500)
const RUN = randomBytes(5).toString('hex')
const PASSWORD = 'correct horse battery'
const managers = []

async function rest(method, path, body, token) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
  const response = await fetch(URLS[0] + path, { method, headers, body: body && JSON.stringify(body) })
  return response.status === 204 ? null : response.json()
}

async function register(name) {
  const email = `${name.toLowerCase()}-${RUN}@recovery.example`
  const { user, tokens } = await rest('POST', '/api/v1/auth/register', { email, password: PASSWORD, name })
  return { ...user, token: tokens.access_token }
}

/** The network between a client and the servers: cut without a goodbye, or silent, and it leads where it is told. */
class Network {
  pairs = new Set()
  open = true
  target = URLS[0]

  async start() {
    this.server = net.createServer(client => {
      if (!this.open) return client.destroy()
      const { hostname, port } = new URL(this.target)
      const server = net.connect(port, hostname)
      const pair = { client, server, silent: false }
      this.pairs.add(pair)
      client.on('data', data => pair.silent || server.write(data))
      server.on('data', data => pair.silent || client.write(data))
      for (const [one, other] of [[client, server], [server, client]]) {
        one.on('error', () => {})
        one.on('close', () => { if (!pair.silent) other.destroy() })
      }
    })
    await new Promise(done => this.server.listen(0, '127.0.0.1', done))
    this.url = `http://127.0.0.1:${this.server.address().port}`
    return this
  }

  /** `silently`: the server's side stays open and hears nothing, as when a phone walks out of its cell. */
  cut(silently = false) {
    this.open = false
    for (const pair of this.pairs) {
      pair.silent = silently
      pair.client.destroy()
      if (!silently) pair.server.destroy()
    }
    this.pairs.clear()
  }

  heal(target) {
    this.target = target
    this.open = true
  }
}

class Device {
  constructor(network, token, namespaces = ['/chat'], transports = ['websocket']) {
    this.manager = new Manager(network.url, { transports, autoConnect: false, reconnectionDelay: 100, reconnectionDelayMax: 200 })
    managers.push(this.manager)
    this.heard = []
    this.connects = []
    this.sockets = Object.fromEntries(namespaces.map(name => [name, this.manager.socket(name, { auth: { token } })]))
    for (const [name, socket] of Object.entries(this.sockets)) {
      socket.onAny((event, payload) => this.heard.push({ event, payload, name }))
      socket.on('connect', () => this.connects.push({ name, recovered: socket.recovered, id: socket.id }))
    }
  }

  async open() {
    for (const socket of Object.values(this.sockets)) socket.connect()
    await this.connected(Object.keys(this.sockets).length)
    return this
  }

  async connected(count) {
    await until(() => this.connects.length >= count, `${count} connects`)
  }

  texts() {
    return this.heard.filter(one => one.event === 'chat:message').map(one => one.payload.message.text)
  }

  call(event, payload, name = '/chat') {
    return new Promise((done, fail) => this.sockets[name].timeout(10_000).emit(event, payload, (error, answer) => {
      if (error) fail(error)
      else if (!answer.ok) fail(new Error(JSON.stringify(answer.error)))
      else done(answer.data)
    }))
  }
}

async function until(true_, what, ms = 15_000) {
  const end = Date.now() + ms
  while (!true_()) {
    if (Date.now() > end) throw new Error(`in vain: ${what}`)
    await pause(5)
  }
}

describe('a client that was cut off in a busy room', () => {
  let ada, ben, network, straight, sender, conversation, number = 0, stop = false, busy

  before(async () => {
    ;[ada, ben] = await Promise.all([register('Ada'), register('Ben')])
    network = await new Network().start()
    straight = await new Network().start()
    sender = await new Device(straight, ada.token, ['/chat', '/typing', '/presence']).open()
    const made = await sender.call('chat:create', { type: 'direct', participant_ids: [ben.id], client_id: 'c' })
    conversation = made.conversation.id
    busy = (async () => {
      while (!stop) {
        const text = String(++number)
        await sender.call('chat:send', { conversation_id: conversation, client_id: `m${text}`, text })
        await pause(5)
      }
    })()
  })

  after(async () => {
    stop = true
    await busy
    for (const manager of managers) manager._close()
    network.server.close()
    straight.server.close()
  })

  async function comesBack(device, { target, silently = false, away = AWAY_MS }) {
    const [{ id }] = device.connects
    const before = device.texts().length
    await until(() => device.texts().length > before + 20, 'messages before the cut')
    const connects = device.connects.length
    network.cut(silently)
    await pause(away)
    const cutAt = device.texts().length
    network.heal(target)
    await device.connected(connects + Object.keys(device.sockets).length)
    for (const { name, recovered } of device.connects.slice(connects)) assert.equal(recovered, true, `${name} did not recover`)
    assert.equal(device.sockets['/chat'].id, id)
    const now = number
    await until(() => device.texts().length && Number(device.texts().at(-1)) > now + 20, 'messages after the return')
    const texts = device.texts().map(Number)
    assert.deepEqual(texts, Array.from(texts, (_, index) => texts[0] + index), 'each once, in order')
    assert.ok(texts.length - cutAt > 20)
  }

  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    it(`gets every packet once on the same server (${transports})`, async () => {
      network.heal(URLS[0])
      const device = await new Device(network, ben.token, ['/chat', '/system', '/typing', '/presence'], transports).open()
      await comesBack(device, { target: URLS[0] })
      await comesBack(device, { target: URLS[0], away: 50 })
      device.manager._close()
    })
  }

  it('gets every packet once when the server has not noticed the loss', async () => {
    network.heal(URLS[0])
    const device = await new Device(network, ben.token).open()
    await comesBack(device, { target: URLS[0], silently: true })
    device.manager._close()
  })

  if (URLS.length > 1) it('gets every packet once on another server, and back again', async () => {
    network.heal(URLS[0])
    const device = await new Device(network, ben.token, ['/chat', '/system', '/presence']).open()
    await comesBack(device, { target: URLS[1] })
    await comesBack(device, { target: URLS[1], away: 50 })
    await comesBack(device, { target: URLS[0], silently: true })
    await comesBack(device, { target: URLS[1], away: 10 })
    device.manager._close()
  })

  it('hears of presence and typing again, and of what changed meanwhile', async () => {
    network.heal(URLS[0])
    const device = await new Device(network, ben.token, ['/chat', '/typing', '/presence']).open()
    await device.call('presence:subscribe', { user_ids: [ada.id] }, '/presence')
    await device.call('chat:join', { conversation_id: conversation })
    for (const target of URLS) {
      const connects = device.connects.length
      network.cut()
      await sender.call('presence:set', { status: 'dnd', text: target }, '/presence')
      network.heal(target)
      await device.connected(connects + 3)
      const said = text => device.heard.filter(one => one.event === 'user:status_change' && one.payload.text === text)
      await until(() => said(target).length === 1, 'the status set meanwhile')
      await sender.call('presence:set', { status: 'away', text: `after ${target}` }, '/presence')
      await until(() => said(`after ${target}`).length === 1, 'the status set afterwards')
      device.heard = []
      await until(() => {
        sender.sockets['/typing'].emit('typing:start', { conversation_id: conversation })
        return device.heard.some(one => one.event === 'typing:start')
      }, 'typing')
      await sender.call('typing:stop', { conversation_id: conversation }, '/typing')
    }
    device.manager._close()
  })

  it('starts afresh with the id of somebody else', async () => {
    network.heal(URLS[0])
    const device = await new Device(network, ben.token).open()
    const thief = new Device(network, ada.token)
    thief.sockets['/chat']._pid = device.sockets['/chat']._pid
    thief.sockets['/chat']._lastOffset = device.sockets['/chat']._lastOffset
    network.cut()
    network.heal(URLS.at(-1))
    await thief.open()
    assert.equal(thief.connects[0].recovered, false)
    await device.connected(2)
    assert.equal(device.connects[1].recovered, true)
    thief.manager._close()
    device.manager._close()
  })

  it('starts afresh after saying goodbye', async () => {
    network.heal(URLS[0])
    const device = await new Device(network, ben.token).open()
    device.sockets['/chat'].disconnect()
    await pause(100)
    device.sockets['/chat'].connect()
    await device.connected(2)
    assert.equal(device.connects[1].recovered, false)
    device.manager._close()
  })
})
