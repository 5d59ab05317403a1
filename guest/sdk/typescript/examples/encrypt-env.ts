/**
 * On the operator's machine: encrypts secrets that only the app can read, and says who sent them.
 *
 * The three answers of the KMS (GetAppEnvEncryptPubKey) come as arguments:
 * node encrypt-env.js APP_ID REVISION PUBLIC_KEY TIMESTAMP SIGNATURE_V1 KMS_ROOT > env.bin
 */

import { encryptEnvSigned, verifyEnvKey } from '../src/index.js';

const [appId = '', revision = '', publicKey = '', timestamp = '', signature = '', expectedRoot = ''] =
  process.argv.slice(2);

verifyEnvKey(publicKey, appId, Number(timestamp), signature, { expectedRoot });
const signer = Buffer.from(process.env.SIGNER_KEY ?? '', 'hex');
const vars = { API_KEY: process.env.API_KEY ?? '' };
process.stdout.write(await encryptEnvSigned(vars, publicKey, appId, BigInt(revision), signer));
