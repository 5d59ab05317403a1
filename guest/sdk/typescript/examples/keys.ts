/** In the app: a wallet that survives restarts and updates, and a signature that others can trace to it. */

import { Client, ethereumAccount } from '../src/index.js';

const client = new Client();
const key = await client.getKey('wallet', 'mainnet');
console.log('account', ethereumAccount(key).address);

const answer = await client.sign('ed25519', new TextEncoder().encode('hello'));
console.log('signature', Buffer.from(answer.signature).toString('hex'));
