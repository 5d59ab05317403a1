// The published JavaScript SDK, unmodified, against our sockets.
//
// Every client and every method; answers are checked for what they mean, by
// libraries that know nothing of this project. Reads DSTACK_SIMULATOR_ENDPOINT,
// TAPPD_SIMULATOR_ENDPOINT and APP_CONTRACT_ADDR; the root keys of the KMS from
// KMS_ROOT_K256 and KMS_CA_SPKI, or from the contract (ETH_RPC_URL,
// KMS_CONTRACT_ADDR); asks the KMS too when KMS_URL is set.

import { DstackClient, TappdClient } from '@phala/dstack-sdk';
import * as certificates from './checks/certificates.mjs';
import * as evidence from './checks/evidence.mjs';
import * as helpers from './checks/helpers.mjs';
import * as keys from './checks/keys.mjs';
import { load } from './checks/system.mjs';
import * as tappd from './checks/tappd.mjs';

// The SDK warns of each deprecated method it is asked for: asked on purpose.
console.warn = () => {};
// It also reports bad signatures there, before it answers null.
const complain = console.error;
console.error = () => {};

async function run() {
  const system = await load();
  const client = new DstackClient();
  const old = new TappdClient();
  await evidence.unreachable();
  await evidence.info(client, system);
  await evidence.quotes(client, system);
  await evidence.events(client);
  await evidence.info(client, system);
  await keys.derived(client, system);
  await keys.signing(client, system);
  await certificates.issued(client, system);
  await certificates.demo(client, system);
  await tappd.info(old, client, system);
  await tappd.derived(old, client, system);
  await tappd.quotes(old);
  await tappd.absent(old);
  await helpers.environment();
  helpers.envKeyOffline();
  await helpers.envKeyOfKms(client, system);
  await helpers.composeHashes(client);
  await helpers.accounts(client);
  await helpers.legacyAccounts(client, system);
}

try {
  await run();
  console.log('sdk ok');
} catch (failure) {
  complain(`sdk check failed: ${failure.stack}`);
  process.exitCode = 1;
}
