//! Safe's transaction format (versions 1.3 and later): EIP-712 hashes and signatures.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::{Eip712Domain, SolCall, SolStruct};

use serde::{Deserialize, Serialize};

use crate::abi::{Safe, SafeTx};

/// One signer's agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who.
    pub signer: Address,
    /// 65 bytes: r, s, v.
    pub signature: Bytes,
}

/// One call of a Safe, without refunds: what its owners sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeTransaction {
    /// EIP-155 id.
    pub chain_id: u64,
    /// The Safe.
    pub safe: Address,
    /// Whom it calls.
    pub to: Address,
    /// With what.
    pub data: Bytes,
    /// Which of its transactions this is.
    pub nonce: u64,
}

/// The three hashes that signing devices show, 32 bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct SafeHashes {
    /// Of chain and Safe.
    pub domain: B256,
    /// Of the transaction.
    pub message: B256,
    /// Of both: what is signed.
    pub transaction: B256,
}

impl SafeTransaction {
    fn message(&self) -> SafeTx {
        SafeTx {
            to: self.to,
            value: U256::ZERO,
            data: self.data.clone(),
            operation: 0,
            safeTxGas: U256::ZERO,
            baseGas: U256::ZERO,
            gasPrice: U256::ZERO,
            gasToken: Address::ZERO,
            refundReceiver: Address::ZERO,
            nonce: U256::from(self.nonce),
        }
    }

    /// What is signed, and its parts.
    pub fn hashes(&self) -> SafeHashes {
        let chain_id = Some(U256::from(self.chain_id));
        let domain = Eip712Domain::new(None, None, chain_id, Some(self.safe), None);
        let message = self.message();
        SafeHashes {
            domain: domain.separator(),
            message: message.eip712_hash_struct(),
            transaction: message.eip712_signing_hash(&domain),
        }
    }

    /// The call of the Safe that carries it out. Signatures go in the order of their
    /// signers' addresses, as the Safe demands.
    pub fn execution(&self, signatures: &[Signature]) -> Bytes {
        let mut sorted: Vec<&Signature> = signatures.iter().collect();
        sorted.sort_by_key(|signature| signature.signer);
        let joined: Vec<u8> = sorted
            .iter()
            .flat_map(|signature| signature.signature.iter().copied())
            .collect();
        let call = Safe::execTransactionCall {
            to: self.to,
            value: U256::ZERO,
            data: self.data.clone(),
            operation: 0,
            safeTxGas: U256::ZERO,
            baseGas: U256::ZERO,
            gasPrice: U256::ZERO,
            gasToken: Address::ZERO,
            refundReceiver: Address::ZERO,
            signatures: joined.into(),
        };
        call.abi_encode().into()
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{address, b256, keccak256};

    use super::*;

    /// The type hashes that Safe's contracts hold as constants.
    #[test]
    fn the_types_are_safes() {
        let message = SafeTx::eip712_encode_type();
        assert_eq!(
            keccak256(message.as_bytes()),
            b256!("bb8310d486368db6bd6f849402fdd73ad53d316b5a4b2644ad6efe0f941286d8")
        );
        let domain = keccak256("EIP712Domain(uint256 chainId,address verifyingContract)");
        assert_eq!(
            domain,
            b256!("47e79534a245952e8b16893a336b85a3d9ea9fa8c573f3d803afb92a79469218")
        );
    }

    #[test]
    fn every_field_counts() {
        let transaction = SafeTransaction {
            chain_id: 1,
            safe: address!("1111111111111111111111111111111111111111"),
            to: address!("2222222222222222222222222222222222222222"),
            data: Bytes::from_static(&[1, 2, 3]),
            nonce: 7,
        };
        let hash = transaction.hashes().transaction;
        let others = [
            SafeTransaction {
                chain_id: 2,
                ..transaction.clone()
            },
            SafeTransaction {
                safe: transaction.to,
                ..transaction.clone()
            },
            SafeTransaction {
                to: transaction.safe,
                ..transaction.clone()
            },
            SafeTransaction {
                data: Bytes::new(),
                ..transaction.clone()
            },
            SafeTransaction {
                nonce: 8,
                ..transaction.clone()
            },
        ];
        for other in others {
            assert_ne!(other.hashes().transaction, hash, "{other:?}");
        }
        let parts = transaction.hashes();
        let joined = [&[0x19, 0x01][..], &parts.domain[..], &parts.message[..]].concat();
        assert_eq!(keccak256(joined), hash);
    }
}
