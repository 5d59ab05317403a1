/** Everything this package throws on purpose is a {@link BylawError}; `code` says which rule failed. */
export class BylawError extends Error {
  /** Stable, for programs; the message is for people. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The caller passed something that cannot be used. */
export class InputError extends BylawError {
  constructor(message: string, options?: ErrorOptions) {
    super('input', message, options);
  }
}

/** No answer: no socket, refused, too slow, cut off, or a status that this protocol does not have. */
export class TransportError extends BylawError {
  constructor(message: string, options?: ErrorOptions) {
    super('transport', message, options);
  }
}

/** An answer came, but it is not what the protocol promises. */
export class AnswerError extends BylawError {
  constructor(message: string, options?: ErrorOptions) {
    super('answer', message, options);
  }
}

/** The agent refused the call; `code` and message are its own. */
export class AgentError extends BylawError {
  /** HTTP status, 400 from current agents. */
  readonly status: number;

  constructor(code: string, message: string, status: number) {
    super(code, message);
    this.status = status;
  }
}

/** Rules by which evidence, certificates, keys and signatures are refused. */
export type VerificationCode =
  /** Bytes that are not what they must be. */
  | 'encoding'
  /** Evidence of a platform that this package does not verify. */
  | 'unsupported_platform'
  /** The quote, its certificates or a signature inside it does not hold. */
  | 'quote'
  /** The TD runs in debug mode. */
  | 'debug'
  /** A certificate chain does not lead to the root of the KMS, or is out of date. */
  | 'chain'
  /** The vendor's collateral is missing, out of date, not the vendor's, or revokes a certificate. */
  | 'collateral'
  /** The platform's TCB status is not among the accepted ones. */
  | 'tcb_status'
  /** Made for another key or challenge. */
  | 'report_data_mismatch'
  /** The event log is not what was measured, or lacks an event. */
  | 'event_log'
  /** Another app. */
  | 'app_id'
  /** Another compose file. */
  | 'compose_hash'
  /** Another machine. */
  | 'device_id'
  /** Registers that are not among the expected ones. */
  | 'measurement'
  /** Keys from another key provider. */
  | 'key_provider'
  /** KmsAuth names no usable root. */
  | 'kms_root'
  /** A signature, or a chain of them, does not hold. */
  | 'signature'
  /** A signature is too old, or from the future. */
  | 'expired';

/** Something was verified and did not hold. */
export class VerificationError extends BylawError {
  declare readonly code: VerificationCode;

  constructor(code: VerificationCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** The text of anything that was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Runs `parse`; whatever it throws that is not ours becomes a {@link VerificationError} with `code`. */
export function refuseAs<T>(code: VerificationCode, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof BylawError) throw error;
    throw new VerificationError(code, `${what}: ${reasonOf(error)}`, { cause: error });
  }
}
