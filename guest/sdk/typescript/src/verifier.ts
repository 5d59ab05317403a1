/** Verification of what a peer says of itself. */

import { type Appraisal, appraise, type EvidenceExpectations, expectedReportData } from './appraisal.js';
import { type Collateral, type CollateralSource, Pccs } from './collateral.js';
import { BylawError, InputError, reasonOf, VerificationError } from './errors.js';
import { type EvidenceInput, parseEvidence, type TdxEvidence } from './evidence/evidence.js';
import { INTEL_SGX_ROOT_CA } from './tdx/intel-root.js';
import { collateralKey, verifyQuote, verifySignatures } from './tdx/verify.js';
import { type Certificate, certificateOf } from './x509/certificate.js';

/** What a {@link Verifier} trusts. */
export interface VerifierOptions {
  /**
   * One root certificate, PEM or DER, in place of Intel's: for simulated systems only. Whoever holds
   * its key can make evidence that says anything.
   */
  readonly developmentRoot?: string | Uint8Array;
  /** Source of collateral, or its URL; default: Intel's service. */
  readonly collateral?: CollateralSource | string;
  /** The time for which is verified; default: the clock. */
  readonly now?: () => Date;
}

/** Verifies evidence of TDX VMs. Make one and keep it: it remembers collateral. */
export class Verifier {
  readonly #root: Certificate;
  readonly #source: CollateralSource;
  readonly #now: () => Date;

  constructor(options: VerifierOptions = {}) {
    try {
      this.#root = certificateOf(options.developmentRoot ?? INTEL_SGX_ROOT_CA);
    } catch (error) {
      throw new InputError(`the root is not one X.509 certificate in PEM or DER: ${reasonOf(error)}`, {
        cause: error,
      });
    }
    const source = options.collateral ?? new Pccs();
    this.#source = typeof source === 'string' ? new Pccs(source) : source;
    this.#now = options.now ?? (() => new Date());
  }

  /** The time for which this verifier verifies. */
  now(): Date {
    return this.#now();
  }

  /**
   * Verifies evidence and compares it with what is expected.
   *
   * @throws VerificationError naming the rule that failed; InputError when nothing says whom the
   *   evidence must have been made for.
   */
  async verifyEvidence(input: EvidenceInput, expect: EvidenceExpectations): Promise<Appraisal> {
    expectedReportData(expect);
    const evidence = parseEvidence(input);
    const collateral = await this.collateralFor(evidence);
    return this.verifyWith(collateral, evidence, expect);
  }

  /** The collateral that evidence needs. Evidence that is forged anyway is called forged, not unknown. */
  async collateralFor(evidence: TdxEvidence): Promise<Collateral> {
    const key = collateralKey(evidence.quote);
    try {
      return await this.#source.collateral(key);
    } catch (error) {
      verifySignatures(evidence.quote, this.#root, this.#now());
      if (error instanceof BylawError) throw error;
      throw new VerificationError('collateral', `no collateral: ${reasonOf(error)}`, { cause: error });
    }
  }

  /** As {@link verifyEvidence}, with collateral that was fetched before; without waiting for anything. */
  verifyWith(collateral: Collateral, input: TdxEvidence, expect: EvidenceExpectations): Appraisal {
    return appraise(verifyQuote(input.quote, this.#root, collateral, this.#now()), input, expect);
  }
}
