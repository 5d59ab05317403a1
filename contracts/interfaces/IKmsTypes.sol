// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title What a {KmsAuth} keeps
interface IKmsTypes {
    /// @notice What a KMS publishes about itself once it has its root key.
    /// @param k256Pubkey secp256k1 public key that signs the keys of apps.
    /// @param caPubkey Public key of the certificate authority.
    /// @param quote Evidence that both keys were made inside a TEE.
    /// @param eventlog The event log that belongs to the quote.
    struct KmsInfo {
        bytes k256Pubkey;
        bytes caPubkey;
        bytes quote;
        bytes eventlog;
    }

    /// @notice Where a KMS node answers.
    /// @param publicKey DER SubjectPublicKeyInfo of the key that its TLS certificate holds.
    /// @param evidenceHash SHA-256 of the evidence it shows.
    /// @param endpoint URL.
    struct KmsNode {
        bytes publicKey;
        bytes32 evidenceHash;
        string endpoint;
    }
}
