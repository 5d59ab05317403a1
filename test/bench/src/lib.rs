//! Load generator and figures for docs/performance.md.
