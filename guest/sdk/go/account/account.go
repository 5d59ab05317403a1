// Package account makes Ethereum and Solana accounts from keys that the guest agent derives.
package account

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/mr-tron/base58"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
)

// Ethereum is an account of Ethereum and its kin. It prints as its address.
type Ethereum struct {
	// Address has a checksum (EIP-55).
	Address string
	secret  bylaw.Secret
}

// String is the address.
func (e Ethereum) String() string { return e.Address }

// Secret is the private key, 32 bytes.
func (e Ethereum) Secret() bylaw.Secret { return e.secret }

// PrivateKey is the private key as the standard library has it, on the curve secp256k1.
// Libraries such as go-ethereum take it for signing.
func (e Ethereum) PrivateKey() *ecdsa.PrivateKey {
	return secp256k1.PrivKeyFromBytes(e.secret.Expose()).ToECDSA()
}

// NewEthereum is the account of a derived key.
func NewEthereum(key *bylaw.Key) (Ethereum, error) { return ethereum(key.Secret.Expose()) }

// Solana is an account of Solana. It prints as its address.
type Solana struct {
	// Address is the public key in base58.
	Address string
	// Public has 32 bytes.
	Public ed25519.PublicKey
	secret bylaw.Secret
}

// String is the address.
func (s Solana) String() string { return s.Address }

// Secret is the seed, 32 bytes.
func (s Solana) Secret() bylaw.Secret { return s.secret }

// PrivateKey is seed and public key, 64 bytes, as Solana's tools store it too.
func (s Solana) PrivateKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(s.secret.Expose()) }

// NewSolana is the account of a derived key.
func NewSolana(key *bylaw.Key) (Solana, error) { return solana(key.Secret.Expose()) }

// EthereumFromTLSKey is the account that old programs made from a TLS key.
//
// Deprecated: it is the same for every key, because it comes from constant bytes; anybody
// can spend from it. It exists to find what was put there.
func EthereumFromTLSKey(key *bylaw.TLSKey) (Ethereum, error) {
	prefix, err := derPrefix(key)
	if err != nil {
		return Ethereum{}, err
	}
	return ethereum(prefix)
}

// EthereumFromTLSKeySecure is the account of a TLS key's SHA-256. The key is fresh on each
// call of GetTLSKey, so the account is lost with it; prefer [NewEthereum].
func EthereumFromTLSKeySecure(key *bylaw.TLSKey) (Ethereum, error) {
	digest, err := derDigest(key)
	if err != nil {
		return Ethereum{}, err
	}
	return ethereum(digest)
}

// SolanaFromTLSKey is the account that old programs made from a TLS key.
//
// Deprecated: it is the same for every key, because it comes from constant bytes; anybody
// can spend from it. It exists to find what was put there.
func SolanaFromTLSKey(key *bylaw.TLSKey) (Solana, error) {
	prefix, err := derPrefix(key)
	if err != nil {
		return Solana{}, err
	}
	return solana(prefix)
}

// SolanaFromTLSKeySecure is the account of a TLS key's SHA-256. The key is fresh on each
// call of GetTLSKey, so the account is lost with it; prefer [NewSolana].
func SolanaFromTLSKeySecure(key *bylaw.TLSKey) (Solana, error) {
	digest, err := derDigest(key)
	if err != nil {
		return Solana{}, err
	}
	return solana(digest)
}

func ethereum(secret []byte) (Ethereum, error) {
	key, err := recoverable.PrivateKey(secret)
	if err != nil {
		return Ethereum{}, err
	}
	public := key.PubKey().SerializeUncompressed()
	hash := recoverable.Keccak256(public[1:])
	return Ethereum{Address: checksummed(hash[12:]), secret: bylaw.NewSecret(secret)}, nil
}

// checksummed writes an address as EIP-55 does: a letter is upper case where the hash of
// the lower-case text has a high digit.
func checksummed(address []byte) string {
	text := hex.EncodeToString(address)
	digits := recoverable.Keccak256([]byte(text))
	hash := hex.EncodeToString(digits[:])
	var out strings.Builder
	out.WriteString("0x")
	for i := range len(text) {
		if hash[i] >= '8' {
			out.WriteString(strings.ToUpper(text[i : i+1]))
		} else {
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

func solana(seed []byte) (Solana, error) {
	if len(seed) != ed25519.SeedSize {
		return Solana{}, fmt.Errorf("an Ed25519 seed has %d bytes, not %d", len(seed), ed25519.SeedSize)
	}
	public := ed25519.PublicKey(ed25519.NewKeyFromSeed(seed)[ed25519.SeedSize:])
	return Solana{Address: base58.Encode(public), Public: public, secret: bylaw.NewSecret(seed)}, nil
}

func derPrefix(key *bylaw.TLSKey) ([]byte, error) {
	der, err := tlsKeyDER(key)
	if err != nil {
		return nil, err
	}
	return der[:ed25519.SeedSize], nil
}

func derDigest(key *bylaw.TLSKey) ([]byte, error) {
	der, err := tlsKeyDER(key)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(der)
	return digest[:], nil
}

func tlsKeyDER(key *bylaw.TLSKey) ([]byte, error) {
	block, _ := pem.Decode(key.Key.Expose())
	if block == nil || block.Type != "PRIVATE KEY" || len(block.Bytes) < ed25519.SeedSize {
		return nil, fmt.Errorf("the TLS key is not a PKCS#8 key in PEM")
	}
	return block.Bytes, nil
}
