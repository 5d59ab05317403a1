package kms

import (
	"bytes"
	"encoding/binary"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
)

const (
	envKeyTag    = "dstack-env-encrypt-pubkey:"
	envKeyLength = 32

	// DefaultMaxAge is how old a signed encryption key may be.
	DefaultMaxAge = 300 * time.Second
	// FutureTolerance is how far a KMS's clock may be ahead.
	FutureTolerance = 60 * time.Second
)

// EnvKeyOptions says when and against what to verify an environment's encryption key.
type EnvKeyOptions struct {
	// Root, when given, must be who signed.
	Root *Root
	// Now is the time to verify at; the present when zero.
	Now time.Time
	// MaxAge is how old the signature may be; [DefaultMaxAge] when zero.
	MaxAge time.Duration
}

// VerifyEnvKey shows that a KMS said, recently, that this X25519 public key encrypts
// environments of this app. It returns the signer, a compressed secp256k1 key. Without
// options.Root the caller must compare the signer with a root it trusts.
func VerifyEnvKey(public, appID []byte, timestamp uint64, signatureV1 []byte, options EnvKeyOptions) ([]byte, error) {
	if err := checkEnvKey(public, appID); err != nil {
		return nil, err
	}
	now := options.Now
	if now.IsZero() {
		now = time.Now()
	}
	maxAge := options.MaxAge
	if maxAge == 0 {
		maxAge = DefaultMaxAge
	}
	if err := checkAge(timestamp, now, maxAge); err != nil {
		return nil, err
	}
	var signedAt [8]byte
	binary.BigEndian.PutUint64(signedAt[:], timestamp)
	digest := recoverable.Keccak256([]byte(envKeyTag), appID, signedAt[:], public)
	return envKeySigner(signatureV1, digest, options.Root)
}

// VerifyEnvKeyLegacy is [VerifyEnvKey] for signatures without a time. A KMS that is no
// longer trusted could have made one at any time; prefer the other.
func VerifyEnvKeyLegacy(public, appID, signature []byte, root *Root) ([]byte, error) {
	if err := checkEnvKey(public, appID); err != nil {
		return nil, err
	}
	digest := recoverable.Keccak256([]byte(envKeyTag), appID, public)
	return envKeySigner(signature, digest, root)
}

func checkEnvKey(public, appID []byte) error {
	if len(public) != envKeyLength {
		return bylaw.Refuse(bylaw.RuleEncoding,
			"an X25519 public key has %d bytes, not %d", len(public), envKeyLength)
	}
	if len(appID) != appIDLength {
		return bylaw.Refuse(bylaw.RuleAppID, "an app id has %d bytes, not %d", len(appID), appIDLength)
	}
	return nil
}

func checkAge(timestamp uint64, now time.Time, maxAge time.Duration) error {
	present := now.Unix()
	if present < 0 {
		return bylaw.Refuse(bylaw.RuleTimestamp, "the time to verify at is before 1970")
	}
	if timestamp > uint64(present) {
		if timestamp-uint64(present) > uint64(FutureTolerance/time.Second) {
			return bylaw.Refuse(bylaw.RuleTimestamp,
				"the key was signed in the future, at %d; it is %d", timestamp, present)
		}
		return nil
	}
	if age := uint64(present) - timestamp; age > uint64(max(maxAge, 0)/time.Second) {
		return bylaw.Refuse(bylaw.RuleTimestamp,
			"the key was signed %d seconds ago, more than %s; ask the KMS again", age, maxAge)
	}
	return nil
}

func envKeySigner(signature []byte, digest [32]byte, root *Root) ([]byte, error) {
	signer, err := recoverable.Recover(signature, digest)
	if err != nil {
		return nil, bylaw.Because(bylaw.RuleSignature, err, "the key's signature")
	}
	if root != nil && !bytes.Equal(signer, root.K256Public) {
		return nil, bylaw.Refuse(bylaw.RuleRoot,
			"the key is signed by %x, the root is %x: another KMS, app or key", signer, root.K256Public)
	}
	return signer, nil
}
