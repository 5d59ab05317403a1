/** Using evidence in TLS connections of Node. */

import * as tls from 'node:tls';
import {
  type CertificateAppraisal,
  type CertificateExpectations,
  type CertificateRoot,
  verifyCertificate,
  verifyCertificateWith,
} from './certificate.js';
import type { Collateral } from './collateral.js';
import { reasonOf, TransportError, VerificationError } from './errors.js';
import type { Verifier } from './verifier.js';

const DEFAULT_TIMEOUT_MS = 30_000;

/** What a peer must be. */
export interface PeerExpectations {
  readonly verifier: Verifier;
  /** From `fetchKmsRoot`; null believes the evidence only. */
  readonly root: CertificateRoot | null;
  readonly expect: CertificateExpectations;
}

/** A connection whose peer was verified. */
export interface VerifiedConnection {
  readonly socket: tls.TLSSocket;
  readonly peer: CertificateAppraisal;
}

/** The certificates that the peer of a handshake sent, DER, the leaf first. */
export function peerChain(certificate: tls.DetailedPeerCertificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  let current: tls.DetailedPeerCertificate | undefined = certificate;
  // A self-signed certificate names itself as its issuer.
  while (current?.raw !== undefined && !chain.some((der) => current?.raw.equals(der))) {
    chain.push(current.raw);
    current = current.issuerCertificate;
  }
  return chain;
}

/** Verifies the peer of a socket whose handshake is done. Write nothing before this resolves. */
export async function verifyPeer(
  socket: tls.TLSSocket,
  { verifier, root, expect }: PeerExpectations,
): Promise<CertificateAppraisal> {
  const chain = peerChain(socket.getPeerCertificate(true));
  if (chain.length === 0) throw new VerificationError('encoding', 'the peer showed no certificate');
  return verifyCertificate(verifier, chain, root, expect);
}

/**
 * Connects by TLS and verifies the peer before the socket is handed out.
 *
 * The host's name proves nothing here and is not checked: the evidence says who the peer is.
 */
export async function connectVerified(
  options: tls.ConnectionOptions & { readonly timeoutMs?: number },
  peer: PeerExpectations,
): Promise<VerifiedConnection> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, ...connection } = options;
  // Public authorities know nothing of these certificates. A resumed session would show none.
  const socket = tls.connect({
    ...connection,
    rejectUnauthorized: false,
    session: undefined,
    minVersion: 'TLSv1.2',
  });
  const deadline = setTimeout(
    () => socket.destroy(new Error(`no handshake within ${timeoutMs} ms`)),
    timeoutMs,
  );
  let fail = (_error: Error): void => {};
  const failed = new Promise<never>((_, reject) => {
    fail = (error) => reject(new TransportError(`TLS: ${reasonOf(error)}`, { cause: error }));
  });
  const closed = () => fail(new Error('the peer closed the connection'));
  // Listened to until the socket is handed out: an error that nobody hears would end the process.
  socket.on('error', fail);
  socket.on('close', closed);
  try {
    const connected = new Promise<void>((resolve) => socket.once('secureConnect', resolve));
    await Promise.race([connected, failed]);
    return { socket, peer: await Promise.race([verifyPeer(socket, peer), failed]) };
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(deadline);
    socket.off('close', closed);
    if (!socket.destroyed) socket.off('error', fail);
  }
}

/**
 * A `checkServerIdentity` for `tls.connect`, `https.request` and agents.
 *
 * Node calls it without waiting, so the collateral must be at hand, and only for chains that lead to
 * one of `ca`: pass the PEM of the KMS root CA there, and leave `rejectUnauthorized` alone. Prefer
 * {@link connectVerified} where you can.
 */
export function checkServerIdentity(
  { verifier, root, expect }: PeerExpectations,
  collateral: Collateral,
): (host: string, certificate: tls.PeerCertificate) => Error | undefined {
  return (_host, certificate) => {
    try {
      const chain = peerChain(certificate as tls.DetailedPeerCertificate);
      verifyCertificateWith(verifier, collateral, chain, root, expect);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(reasonOf(error));
    }
  };
}
