// Package recoverable reads and makes the secp256k1 signatures of the key hierarchy:
// r (32 bytes), s (32 bytes, low), recovery id (0 or 1).
package recoverable

import (
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"
)

const (
	// Length of a signature.
	Length = 65
	// PublicKeyLength is the length of a compressed public key.
	PublicKeyLength = 33

	scalarLength = 32
	// compactBase is what the library adds to a recovery id, for compressed keys.
	compactBase = 27 + 4
)

// Keccak256 hashes the concatenation of parts.
func Keccak256(parts ...[]byte) [32]byte {
	hash := sha3.NewLegacyKeccak256()
	for _, part := range parts {
		_, _ = hash.Write(part)
	}
	return [32]byte(hash.Sum(nil))
}

// Recover returns the compressed public key that made the signature over the digest.
func Recover(signature []byte, digest [32]byte) ([]byte, error) {
	if len(signature) != Length {
		return nil, fmt.Errorf("a signature has %d bytes, not %d", len(signature), Length)
	}
	id := signature[Length-1]
	if id > 1 {
		return nil, fmt.Errorf("the recovery id is %d, neither 0 nor 1", id)
	}
	if err := CheckScalars(signature[:Length-1]); err != nil {
		return nil, err
	}
	compact := append([]byte{compactBase + id}, signature[:Length-1]...)
	public, _, err := ecdsa.RecoverCompact(compact, digest[:])
	if err != nil {
		return nil, fmt.Errorf("no key made this signature: %w", err)
	}
	return public.SerializeCompressed(), nil
}

// CheckScalars refuses r and s (64 bytes) out of range, and an s that is not the lower of
// the two that are valid.
func CheckScalars(rs []byte) error {
	var r, s secp256k1.ModNScalar
	if r.SetByteSlice(rs[:scalarLength]) || r.IsZero() {
		return fmt.Errorf("r is zero or not below the group order")
	}
	if s.SetByteSlice(rs[scalarLength:]) || s.IsZero() {
		return fmt.Errorf("s is zero or not below the group order")
	}
	if s.IsOverHalfOrder() {
		return fmt.Errorf("s is in the upper half of its range")
	}
	return nil
}

// Normalize brings a signature of another origin into the form of this package: a v of
// 27 or 28 becomes 0 or 1, a high s the low one.
func Normalize(signature []byte) ([]byte, error) {
	if len(signature) != Length {
		return nil, fmt.Errorf("a signature has %d bytes, not %d", len(signature), Length)
	}
	v := signature[Length-1]
	if v == 27 || v == 28 {
		v -= 27
	}
	if v > 1 {
		return nil, fmt.Errorf("v of the signature is %d, not 0, 1, 27 or 28", signature[Length-1])
	}
	var s secp256k1.ModNScalar
	if s.SetByteSlice(signature[scalarLength : 2*scalarLength]) {
		return nil, fmt.Errorf("s is not below the group order")
	}
	if s.IsOverHalfOrder() {
		s.Negate()
		v ^= 1
	}
	low := s.Bytes()
	normal := append(append([]byte{}, signature[:scalarLength]...), low[:]...)
	return append(normal, v), CheckScalars(normal)
}

// PrivateKey reads a scalar of 32 bytes.
func PrivateKey(secret []byte) (*secp256k1.PrivateKey, error) {
	var scalar secp256k1.ModNScalar
	if len(secret) != scalarLength {
		return nil, fmt.Errorf("a secp256k1 key has %d bytes, not %d", len(secret), scalarLength)
	}
	if scalar.SetByteSlice(secret) || scalar.IsZero() {
		return nil, fmt.Errorf("a secp256k1 key is zero or not below the group order")
	}
	return secp256k1.NewPrivateKey(&scalar), nil
}

// Sign signs a digest.
func Sign(key *secp256k1.PrivateKey, digest [32]byte) []byte {
	compact := ecdsa.SignCompact(key, digest[:], true)
	return append(append([]byte{}, compact[1:]...), compact[0]-compactBase)
}
