//! The app API inside a confidential VM.
