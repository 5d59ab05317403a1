//! Evidence to appraisal: one module a platform.
