/** In the app: HTTPS whose certificate carries evidence, so that clients can verify who answers. */

import * as https from 'node:https';
import { Client } from '../src/index.js';

const key = await new Client().getTlsKey({ subject: 'my-app', altNames: ['localhost'], usageRaTls: true });
// The whole chain is sent: clients need the app's CA and the root.
const server = https.createServer(
  { key: key.key, cert: key.certificateChain.join('') },
  (_request, response) => {
    response.end('hello from the TEE\n');
  },
);
server.listen(8443, () => console.log('https://localhost:8443'));
