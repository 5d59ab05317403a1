package environment

import (
	"encoding/binary"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
)

// Signer signs a 32-byte digest with secp256k1 and returns r, s and v (65 bytes); v may be
// 0 or 1, or 27 or 28. A key store or hardware wallet fits.
type Signer func(digest [32]byte) ([]byte, error)

// NewKeySigner signs with a secp256k1 key of 32 bytes.
func NewKeySigner(secret []byte) (Signer, error) {
	key, err := recoverable.PrivateKey(secret)
	if err != nil {
		return nil, err
	}
	return func(digest [32]byte) ([]byte, error) { return recoverable.Sign(key, digest), nil }, nil
}

// The type strings of EIP-712.
const (
	domainType  = "EIP712Domain(string name,string version,address verifyingContract)"
	messageType = "EncryptedEnvironment(uint64 revision,bytes32 sealed)"
	domainName  = "Bylaw environment"
	domainIs    = "2"
)

// SigningDigest is the EIP-712 digest that the sender of a version 2 environment signs.
// sealed is the envelope without its first 82 bytes.
func SigningDigest(appID [20]byte, revision uint64, sealed []byte) [32]byte {
	domain := structHash(domainType, keccak([]byte(domainName)), keccak([]byte(domainIs)), leftPadded(appID[:]))
	message := structHash(messageType,
		leftPadded(binary.BigEndian.AppendUint64(nil, revision)), keccak(sealed))
	return recoverable.Keccak256([]byte{0x19, 0x01}, domain, message)
}

// structHash hashes a struct of EIP-712 from its members' words.
func structHash(typeString string, words ...[]byte) []byte {
	return keccak(append([][]byte{keccak([]byte(typeString))}, words...)...)
}

func keccak(parts ...[]byte) []byte {
	digest := recoverable.Keccak256(parts...)
	return digest[:]
}

func leftPadded(value []byte) []byte {
	word := make([]byte, 32)
	copy(word[32-len(value):], value)
	return word
}
