//! What an OS image measures to: MRTD, RTMR0 to RTMR2, the SEV-SNP launch digest.
