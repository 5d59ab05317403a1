/**
 * SDK of Bylaw: what an app in a confidential VM asks its agent, and what everybody else needs to
 * verify that app.
 *
 * @packageDocumentation
 */

export {
  type AccountKey,
  EthereumAccount,
  ethereumAccount,
  ethereumAccountSecure,
  SolanaAccount,
  solanaAccount,
  solanaAccountSecure,
} from './accounts.js';
export type { AgentVersion, AppInfo, GpuInfo, QuoteAnswer, SignAnswer, TcbInfo } from './answers.js';
export type {
  Appraisal,
  EvidenceExpectations,
  Expectations,
  KeyProvider,
  Measurements,
} from './appraisal.js';
export type { BytesLike } from './bytes.js';
export {
  type CertificateAppraisal,
  type CertificateExpectations,
  type CertificateRoot,
  type ChainInput,
  evidenceOfCertificate,
  verifyCertificate,
  verifyCertificateWith,
} from './certificate.js';
export {
  Client,
  type ClientOptions,
  REPORT_DATA_LENGTH,
  type SignAlgorithm,
  type TlsKeyOptions,
} from './client.js';
export { type Collateral, type CollateralSource, collateralOfJson, INTEL_PCS, Pccs } from './collateral.js';
export { type ComposeHashOptions, canonicalCompose, composeHash } from './compose.js';
export { ENDPOINT_VARIABLE, SOCKET_PATHS } from './endpoint.js';
export {
  type EnvSigner,
  type EnvVar,
  type EnvVars,
  encryptEnv,
  encryptEnvSigned,
  envDigest,
} from './env.js';
export {
  type EnvKeyExpectations,
  type TimedEnvKeyExpectations,
  verifyEnvKey,
  verifyEnvKeyLegacy,
} from './env-key.js';
export {
  AgentError,
  AnswerError,
  BylawError,
  InputError,
  TransportError,
  type VerificationCode,
  VerificationError,
} from './errors.js';
export { type EventLogEntry, parseEventLog, type RuntimeEvent, replayRtmrs } from './events.js';
export { type EvidenceInput, parseEvidence, type QuoteJson, type TdxEvidence } from './evidence/evidence.js';
export { publicKeyOf, type SigningRoot, verifyDerivedKey, verifyKey, verifySignature } from './key-chain.js';
export { decodeKmsInfo, fetchKmsRoot, type KmsRoot } from './kms-root.js';
export { reportDataForTlsKey } from './report-data.js';
export { DerivedKey, type KeyAlgorithm, TlsKey } from './secrets.js';
export type { TcbStatus } from './tdx/tcb.js';
export type { CollateralKey } from './tdx/verify.js';
export {
  checkServerIdentity,
  connectVerified,
  type PeerExpectations,
  peerChain,
  type VerifiedConnection,
  verifyPeer,
} from './tls.js';
export { Verifier, type VerifierOptions } from './verifier.js';
