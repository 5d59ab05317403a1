import { existsSync } from 'node:fs';
import { InputError, TransportError } from './errors.js';

/** Where the agent's API is: a Unix socket, or an HTTP(S) server for development. */
export type Endpoint =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'url'; readonly url: URL };

/** Names the endpoint where no argument does; a socket path or a base URL. */
export const ENDPOINT_VARIABLE = 'DSTACK_SIMULATOR_ENDPOINT';

/** Where the socket is mounted, in the order in which it is looked for. */
export const SOCKET_PATHS: readonly string[] = [
  '/var/run/dstack.sock',
  '/run/dstack.sock',
  '/var/run/dstack/dstack.sock',
  '/run/dstack/dstack.sock',
];

/**
 * The endpoint to use: the argument, else the environment's, else the first socket that exists.
 *
 * @throws TransportError when there is none; InputError for a value that names none.
 */
export function findEndpoint(argument?: string): Endpoint {
  const stated = argument ?? process.env[ENDPOINT_VARIABLE];
  if (stated !== undefined && stated !== '') return parseEndpoint(stated);
  const socket = SOCKET_PATHS.find((path) => existsSync(path));
  if (socket === undefined) {
    throw new TransportError(
      `no agent socket at ${SOCKET_PATHS.join(', ')}; mount /var/run/dstack.sock into this container, ` +
        `or set ${ENDPOINT_VARIABLE} to a socket path or URL`,
    );
  }
  return { kind: 'unix', path: socket };
}

/** Parses a socket path or an `http:` or `https:` base URL. */
export function parseEndpoint(text: string): Endpoint {
  if (/^https?:\/\//i.test(text)) {
    if (!URL.canParse(text)) throw new InputError(`endpoint ${JSON.stringify(text)} is not a URL`);
    return { kind: 'url', url: new URL(text) };
  }
  const path = text.startsWith('unix:') ? text.slice('unix:'.length) : text;
  if (path === '' || /^[a-z]+:\/\//i.test(path)) {
    throw new InputError(
      `endpoint ${JSON.stringify(text)} is neither a socket path nor an http:// or https:// URL`,
    );
  }
  return { kind: 'unix', path };
}
