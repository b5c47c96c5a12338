// Run the reference PLC directory and PDS on 127.0.0.1, for as long as standard input stays open.
//
//     node server.mjs INSTALLATION DATA_FOLDER ADMIN_PASSWORD
//
// Prints {"pds_url", "plc_url"} as one line of JSON once both answer. Then takes commands, one line of JSON each, and
// answers each with a line: {"tombstone": DID}, or {"move": DID, "to": PDS_URL}. They change what the PLC directory says
// of an account, signed with the key that the PDS made the account with.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [installation, data, adminPassword] = process.argv.slice(2)
const MAX_BLOB_BYTES = 32 * 1024 * 1024

// A module resolves its imports from where it lies itself, and the packages lie elsewhere.
const { resolve } = createRequire(join(installation, 'package.json'))
const load = (name) => import(pathToFileURL(resolve(name)))

function listenOnLoopbackOnly({ app }) {
  const listen = app.listen.bind(app)
  app.listen = (port) => listen(port, '127.0.0.1')
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

async function startPlc() {
  const { Database, PlcServer } = await load('@did-plc/server')
  const plc = PlcServer.create({ db: Database.mock(), port: 0 })
  listenOnLoopbackOnly(plc)
  const server = await plc.start()
  return `http://localhost:${server.address().port}`
}

async function startPds(didPlcUrl) {
  const { PDS } = await load('@atproto/pds')
  const pds = await PDS.fromEnv({
    port: await freePort(), // known beforehand: the PDS writes its own URL into DID documents
    hostname: 'localhost',
    didPlcUrl,
    dataDirectory: data,
    blobstoreDiskLocation: join(data, 'blobs'),
    blobUploadLimit: MAX_BLOB_BYTES,
    jwtSecret: randomBytes(32).toString('hex'),
    adminPassword,
    plcRotationKeyK256PrivateKeyHex: randomBytes(32).toString('hex'),
    serviceHandleDomains: ['.test'],
    inviteRequired: false,
    devMode: true, // plain http, and a directory on a private address
  })
  listenOnLoopbackOnly(pds)
  await pds.start()
  return pds.ctx
}

async function obey({ plcClient, plcRotationKey }, command) {
  if (command.tombstone) await plcClient.tombstone(command.tombstone, plcRotationKey)
  else if (command.move) await plcClient.updatePds(command.move, plcRotationKey, command.to)
  else throw new Error('no such command')
}

function say(answer) {
  process.stdout.write(JSON.stringify(answer) + '\n')
}

const plcUrl = await startPlc()
const ctx = await startPds(plcUrl)
say({ pds_url: ctx.cfg.service.publicUrl, plc_url: plcUrl })

for await (const line of createInterface({ input: process.stdin })) {
  try {
    await obey(ctx, JSON.parse(line))
    say({ ok: true })
  } catch (error) {
    say({ ok: false, message: String(error) })
  }
}
// The data folder is a temporary one: there is nothing to save, and no connection worth waiting for.
process.exit(0)
