// Package bylaw speaks to the guest agent of a confidential VM: derived keys, TLS
// certificates, quotes, signatures and facts about the app.
//
// [Client] is for a program that runs inside the VM. Whoever runs outside and wants to know
// whom it talks to needs the sub-packages:
//
//   - attest verifies evidence and certificates of a peer,
//   - kms reads the root of trust from its contract and verifies chains of keys,
//   - environment seals environment variables for an app,
//   - account makes Ethereum and Solana accounts from derived keys,
//   - eventlog reads and replays event logs.
package bylaw

// Version of this SDK.
const SDKVersion = "0.1.0"
