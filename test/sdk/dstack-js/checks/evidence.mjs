// Quotes, attestations, event logs, Info.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { DstackClient, to_hex } from '@phala/dstack-sdk';
import { aggregated, parse, within } from './quote.mjs';
import { hex, rawRefused, refused, toHex } from './system.mjs';

const RUNTIME_EVENT = 0x08000001;

/** What a runtime event of the first version extends RTMR3 by. */
function digestV1(event, payload) {
  const kind = Buffer.alloc(4);
  kind.writeUInt32LE(RUNTIME_EVENT);
  return createHash('sha384').update(kind).update(`:${event}:`).update(payload).digest('hex');
}

/** The report data as a quote carries it. */
export const padded = (data) => Buffer.concat([Buffer.from(data), Buffer.alloc(64)]).subarray(0, 64);

/** The quote of an answer whose event log explains its registers. */
export function replayed(answer) {
  const quote = parse(hex(answer.quote));
  assert.deepEqual(answer.replayRtmrs(), quote.rtmrs.map(toHex), 'RTMRs replayed');
  return quote;
}

/** getQuote, attest and the deprecated tdxQuote carry what was asked. */
export async function quotes(client, system) {
  for (const data of ['x', Buffer.from('a challenge'), new Uint8Array(randomBytes(64)), '']) {
    const answer = await client.getQuote(data);
    assert.deepEqual(replayed(answer).reportData, padded(data), 'report data of a quote');
    assert.equal(answer.report_data, toHex(padded(data)), 'report data beside a quote');
    JSON.parse(answer.vm_config);
    const { attestation } = await client.attest(data);
    const inner = within(hex(attestation));
    assert.deepEqual(inner.reportData, padded(data), 'report data of an attestation');
    assert.deepEqual(inner.mrtd, parse(hex(answer.quote)).mrtd, 'MRTD');
  }
  const old = await client.tdxQuote('old', 'raw');
  assert.deepEqual(replayed(old).reportData, padded('old'), 'report data of tdxQuote');
  await refused(client.tdxQuote('old', 'sha512'), /only supports raw/, 'another hash');
  await refused(client.deriveKey('old'), /deprecated/, 'deriveKey');
  const long = Buffer.alloc(65);
  for (const [method, call] of [
    ['/GetQuote', () => client.getQuote(long)],
    ['/Attest', () => client.attest(long)],
  ]) {
    await refused(call(), /too large/, `${method} of 65 bytes, asked through the SDK`);
    // Past the SDK's own check, the agent must refuse too.
    const body = { report_data: toHex(long) };
    const words = /Report data is too long/;
    await rawRefused(system.guest, method, body, words, `${method} of 65 bytes`);
  }
  assert.equal(to_hex('é'), 'c3a9', 'to_hex of a text');
  assert.equal(to_hex(Uint8Array.of(0, 255)), '00ff', 'to_hex of bytes');
}

/** emitEvent extends RTMR3, and the log says by what. */
export async function events(client) {
  const before = await client.getQuote('before');
  const [name, payload] = [`sdk-check-${toHex(randomBytes(4))}`, randomBytes(20)];
  assert.equal(await client.emitEvent(name, payload), undefined, 'emitEvent answers nothing');
  await client.emitEvent('sdk-check-text', 'a text payload');
  const after = await client.getQuote('after');

  const [old, now] = [replayed(before), replayed(after)];
  assert.deepEqual(now.rtmrs.slice(0, 3), old.rtmrs.slice(0, 3), 'RTMR0 to 2 after an event');
  assert.notDeepEqual(now.rtmrs[3], old.rtmrs[3], 'an event changes RTMR3');
  const [earlier, log] = [JSON.parse(before.event_log), JSON.parse(after.event_log)];
  assert.deepEqual(log.slice(0, earlier.length), earlier, 'the log before an event');
  const expected = [
    [name, payload],
    ['sdk-check-text', Buffer.from('a text payload')],
  ].map(([event, data]) => ({
    imr: 3,
    event_type: RUNTIME_EVENT,
    digest: digestV1(event, data),
    event,
    event_payload: toHex(data),
  }));
  assert.deepEqual(log.slice(earlier.length), expected, 'the emitted events');
  await refused(client.emitEvent('', 'x'), /empty/, 'an event without a name');
}

/** RTMR3 when the system became ready, before any event of an app. */
function rtmr3AtBoot(log) {
  let register = Buffer.alloc(48);
  for (const { imr, event, digest } of log) {
    if (imr !== 3) continue;
    register = createHash('sha384').update(register).update(hex(digest)).digest();
    if (event === 'system-ready') return register;
  }
  assert.fail('the event log says when the system became ready');
}

/** info agrees with the quote, the log, the compose file and the chain. */
export async function info(client, system) {
  assert.equal(await client.isReachable(), true, 'the agent is reachable');
  const version = await client.version();
  assert.ok(version.version, 'the agent has a version');
  assert.equal(typeof version.rev, 'string', 'the agent has a revision');

  const answer = await client.info();
  const quote = replayed(await client.getQuote('info'));
  const tcb = answer.tcb_info;
  assert.equal(answer.app_id, toHex(system.appId), 'the app id');
  const composeHash = createHash('sha256').update(tcb.app_compose).digest('hex');
  assert.equal(answer.compose_hash, composeHash, 'the compose hash');
  assert.equal(tcb.compose_hash, composeHash, 'the compose hash in tcb_info');
  assert.equal(JSON.parse(tcb.app_compose).name, answer.app_name, "the app's name");
  const provider = { name: 'kms', id: toHex(system.caSpki) };
  assert.deepEqual(JSON.parse(answer.key_provider_info), provider, 'the key provider');
  assert.equal(tcb.mrtd, toHex(quote.mrtd), 'MRTD');
  const { rtmr0, rtmr1, rtmr2, rtmr3 } = tcb;
  assert.deepEqual([rtmr0, rtmr1, rtmr2, rtmr3], quote.rtmrs.map(toHex), 'the registers');
  const now = aggregated(quote, quote.rtmrs[3]);
  assert.equal(tcb.mr_aggregated, now, 'the aggregated measurement');
  // Beside tcb_info, what the KMS decided about is as good an answer.
  const booted = aggregated(quote, rtmr3AtBoot(tcb.event_log));
  assert.ok([now, booted].includes(answer.mr_aggregated), 'mr_aggregated, now or at boot');
  assert.equal(tcb.os_image_hash, answer.os_image_hash, 'os_image_hash in tcb_info');
  assert.equal(tcb.device_id, answer.device_id, 'device_id in tcb_info');
  assert.match(answer.device_id, /^[0-9a-f]{64}$/, 'the device id');
  const machine = JSON.parse(answer.vm_config);
  assert.equal(machine.os_image_hash, answer.os_image_hash, 'os_image_hash of the VM');

  const measured = new Map();
  for (const { imr, event, digest, event_payload } of tcb.event_log) {
    if (imr !== 3) continue;
    assert.equal(digest, digestV1(event, hex(event_payload)), `the digest of ${event}`);
    // An app can repeat a name later; the first of each is the boot's.
    if (!measured.has(event)) measured.set(event, hex(event_payload));
  }
  assert.equal(toHex(measured.get('app-id')), answer.app_id, 'the measured app id');
  assert.equal(toHex(measured.get('compose-hash')), composeHash, 'the measured compose hash');
  assert.equal(toHex(measured.get('instance-id')), answer.instance_id, 'the measured instance');
  assert.deepEqual(JSON.parse(measured.get('key-provider')), provider, 'the measured provider');
}

/** Nobody there: the SDK says so instead of answering. */
export async function unreachable() {
  assert.throws(() => new DstackClient('/nonexistent/dstack.sock'), /does not exist/);
  const nobody = new DstackClient('http://127.0.0.1:1');
  assert.equal(await nobody.isReachable(), false, 'a closed port is not reachable');
  await refused(nobody.getKey('x'), /ECONNREFUSED/, 'a key from a closed port');
}
