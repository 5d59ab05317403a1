package kms

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
)

const (
	appIDLength      = 20
	issuedTag        = "dstack-kms-issued:"
	signingPurpose   = "signing"
	rawSignature     = 64
	digestLength     = 32
	signatureInChain = 3
)

// VerifyKey shows that a public key was derived for an app and purpose by the KMS with
// this root. chain holds the app key's signature and the root's. It returns the app's own
// public key, compressed.
func VerifyKey(root *Root, appID []byte, purpose string, publicKey []byte, chain [][]byte) ([]byte, error) {
	if root == nil || len(root.K256Public) != recoverable.PublicKeyLength {
		return nil, bylaw.Refuse(bylaw.RuleRoot, "there is no root to verify against; read it with FetchRoot")
	}
	if len(appID) != appIDLength {
		return nil, bylaw.Refuse(bylaw.RuleAppID, "an app id has %d bytes, not %d", len(appID), appIDLength)
	}
	if len(publicKey) != ed25519.PublicKeySize && len(publicKey) != recoverable.PublicKeyLength {
		return nil, bylaw.Refuse(bylaw.RuleEncoding,
			"a public key has %d bytes, not 32 (Ed25519) or 33 (secp256k1)", len(publicKey))
	}
	if len(chain) != 2 {
		return nil, bylaw.Refuse(bylaw.RuleChain, "the chain has %d signatures, not 2", len(chain))
	}
	if len(chain[1]) == 0 {
		return nil, bylaw.Refuse(bylaw.RuleChain, "no root signed the app's key: the app has no KMS")
	}
	message := recoverable.Keccak256([]byte(purpose + ":" + hex.EncodeToString(publicKey)))
	appPublic, err := recoverable.Recover(chain[0], message)
	if err != nil {
		return nil, bylaw.Because(bylaw.RuleChain, err, "the app key's signature")
	}
	issued := recoverable.Keccak256([]byte(issuedTag), appID, appPublic)
	signer, err := recoverable.Recover(chain[1], issued)
	if err != nil {
		return nil, bylaw.Because(bylaw.RuleChain, err, "the root's signature")
	}
	if !bytes.Equal(signer, root.K256Public) {
		return nil, bylaw.Refuse(bylaw.RuleChain,
			"the chain ends at %x, the root is %x: another KMS, app, purpose or key", signer, root.K256Public)
	}
	return appPublic, nil
}

// VerifyDerivedKey is [VerifyKey] for an answer of GetKey with the purpose and algorithm
// that were asked for; the public key is computed from the secret one.
func VerifyDerivedKey(root *Root, appID []byte, purpose, algorithm string, key *bylaw.Key) ([]byte, error) {
	secret := key.Secret.Expose()
	var public []byte
	switch algorithm {
	case "", "k256", bylaw.Secp256k1:
		private, err := recoverable.PrivateKey(secret)
		if err != nil {
			return nil, bylaw.Because(bylaw.RuleEncoding, err, "the derived key")
		}
		public = private.PubKey().SerializeCompressed()
	case bylaw.Ed25519:
		if len(secret) != ed25519.SeedSize {
			return nil, bylaw.Refuse(bylaw.RuleEncoding,
				"an Ed25519 seed has %d bytes, not %d", len(secret), ed25519.SeedSize)
		}
		public = ed25519.NewKeyFromSeed(secret)[ed25519.SeedSize:]
	default:
		return nil, unknownAlgorithm(algorithm)
	}
	return VerifyKey(root, appID, purpose, public, key.SignatureChain)
}

// VerifySignature shows that an answer of Sign is a signature over the data by the signing
// key of an app. It returns the app's own public key, compressed.
func VerifySignature(root *Root, appID []byte, algorithm string, data []byte, answer *bylaw.Signature) ([]byte, error) {
	if err := checkSignature(algorithm, data, answer.Signature, answer.PublicKey); err != nil {
		return nil, err
	}
	if len(answer.SignatureChain) != signatureInChain {
		return nil, bylaw.Refuse(bylaw.RuleChain,
			"the chain has %d signatures, not %d", len(answer.SignatureChain), signatureInChain)
	}
	if !bytes.Equal(answer.SignatureChain[0], answer.Signature) {
		return nil, bylaw.Refuse(bylaw.RuleChain, "the chain begins with another signature")
	}
	return VerifyKey(root, appID, signingPurpose, answer.PublicKey, answer.SignatureChain[1:])
}

func checkSignature(algorithm string, data, signature, publicKey []byte) error {
	if len(signature) != rawSignature {
		return bylaw.Refuse(bylaw.RuleSignature, "the signature has %d bytes, not %d", len(signature), rawSignature)
	}
	switch algorithm {
	case bylaw.Ed25519:
		if len(publicKey) != ed25519.PublicKeySize {
			return bylaw.Refuse(bylaw.RuleEncoding,
				"an Ed25519 public key has %d bytes, not %d", len(publicKey), ed25519.PublicKeySize)
		}
		if !ed25519.Verify(publicKey, data, signature) {
			return bylaw.Refuse(bylaw.RuleSignature, "it is not a signature of this key over this data")
		}
		return nil
	case "k256", bylaw.Secp256k1:
		digest := sha256.Sum256(data)
		return checkSecp256k1(digest[:], signature, publicKey)
	case bylaw.Secp256k1Prehashed:
		if len(data) != digestLength {
			return bylaw.Refuse(bylaw.RuleSignature, "a digest has %d bytes, not %d", len(data), digestLength)
		}
		return checkSecp256k1(data, signature, publicKey)
	default:
		return unknownAlgorithm(algorithm)
	}
}

func checkSecp256k1(digest, signature, publicKey []byte) error {
	if len(publicKey) != recoverable.PublicKeyLength {
		return bylaw.Refuse(bylaw.RuleEncoding,
			"a secp256k1 public key has %d bytes, not %d", len(publicKey), recoverable.PublicKeyLength)
	}
	public, err := secp256k1.ParsePubKey(publicKey)
	if err != nil {
		return bylaw.Because(bylaw.RuleEncoding, err, "the public key")
	}
	if err := recoverable.CheckScalars(signature); err != nil {
		return bylaw.Because(bylaw.RuleSignature, err, "the signature")
	}
	var r, s secp256k1.ModNScalar
	r.SetByteSlice(signature[:32])
	s.SetByteSlice(signature[32:])
	if !ecdsa.NewSignature(&r, &s).Verify(digest, public) {
		return bylaw.Refuse(bylaw.RuleSignature, "it is not a signature of this key over this data")
	}
	return nil
}

func unknownAlgorithm(algorithm string) error {
	return bylaw.Refuse(bylaw.RuleEncoding,
		"algorithm %q is not one of ed25519, secp256k1 and, for signatures, secp256k1_prehashed", algorithm)
}
