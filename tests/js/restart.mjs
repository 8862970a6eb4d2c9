// The official client through a rolling restart: prints `connected`, waits until standard input ends, and then for
// everybody to be back. Nobody may have been refused, and nobody may need to be told to connect again.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { io } from 'socket.io-client'

const SERVER = process.env.PARLEY_URL
const GOING = 1012
const KINDS = [['websocket'], ['polling'], ['polling', 'websocket']]

async function register(number) {
  const email = `r${number}-${randomBytes(6).toString('hex')}@client.example`
  const body = JSON.stringify({ email, password: 'correct horse battery', name: `R${number}` })
  const response = await fetch(`${SERVER}/api/v1/auth/register`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body
  })
  assert.equal(response.status, 201)
  return (await response.json()).tokens.access_token
}

const clients = await Promise.all(Array.from({ length: 12 }, async (_, number) => {
  const transports = KINDS[number % KINDS.length]
  const options = { transports, auth: { token: await register(number) }, forceNew: true }
  const client = { transports, told: 0, refused: [], ends: [], socket: io(`${SERVER}/system`, options) }
  client.socket.on('system:draining', ({ retry_after_ms }) => { client.told += Number.isInteger(retry_after_ms) })
  client.socket.on('connect_error', error => { if (error.data) client.refused.push(error.data.code) })
  client.socket.on('disconnect', (reason, details) => client.ends.push([reason, details?.context?.code]))
  await new Promise(resolve => client.socket.once('connect', resolve))
  if (transports.length > 1 && client.socket.io.engine.transport.name === 'polling') {
    await new Promise(resolve => client.socket.io.engine.once('upgrade', resolve))
  }
  return client
}))
console.log('connected')
for await (const _ of process.stdin);
while (!clients.every(({ socket, ends }) => socket.connected && ends.length)) await pause(50)
for (const { transports, told, refused, ends } of clients) {
  assert.deepEqual(refused, [])
  assert.ok(told >= 1, JSON.stringify({ transports, told, ends }))
  for (const [reason, code] of ends) {
    if (transports.includes('websocket')) assert.deepEqual([reason, code], ['transport close', GOING])
    else assert.equal(reason, 'transport error')
  }
}
for (const { socket } of clients) socket.close()
console.log('all came back')
