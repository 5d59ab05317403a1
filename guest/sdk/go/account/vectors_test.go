package account

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

type wireAccounts struct {
	GetKey []struct {
		Key             vectors.Hex `json:"key"`
		EthereumAddress string      `json:"ethereum_address"`
		SolanaPublic    string      `json:"solana_public"`
	} `json:"get_key"`
	TLSKey []struct {
		PEM                   string `json:"pem"`
		EthereumAddress       string `json:"ethereum_address"`
		EthereumAddressSecure string `json:"ethereum_address_secure"`
		SolanaPublic          string `json:"solana_public"`
		SolanaPublicSecure    string `json:"solana_public_secure"`
	} `json:"tls_key"`
}

func TestAccountVectors(t *testing.T) {
	file := vectors.Load[wireAccounts](t, "accounts.json")
	if len(file.GetKey) == 0 || len(file.TLSKey) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range file.GetKey {
		key := &bylaw.Key{Secret: bylaw.NewSecret(c.Key)}
		ethereum, err := NewEthereum(key)
		if err != nil || ethereum.Address != c.EthereumAddress {
			t.Errorf("Ethereum %s, not %s: %v", ethereum, c.EthereumAddress, err)
		}
		private := ethereum.PrivateKey()
		public := make([]byte, 64)
		private.X.FillBytes(public[:32])
		private.Y.FillBytes(public[32:])
		hash := recoverable.Keccak256(public)
		if checksummed(hash[12:]) != c.EthereumAddress {
			t.Error("the private key is another account's")
		}
		solana, err := NewSolana(key)
		if err != nil || solana.Address != c.SolanaPublic {
			t.Errorf("Solana %s, not %s: %v", solana, c.SolanaPublic, err)
		}
		if !ed25519.Verify(solana.Public, []byte("x"), ed25519.Sign(solana.PrivateKey(), []byte("x"))) {
			t.Error("the private key is another account's")
		}
		if text := fmt.Sprintf("%v %+v %#v", ethereum, solana, ethereum); strings.Contains(text, fmt.Sprint([]byte(c.Key))) {
			t.Errorf("%s shows the key", text)
		}
	}
	for _, c := range file.TLSKey {
		key := &bylaw.TLSKey{Key: bylaw.NewSecret([]byte(c.PEM))}
		for _, pair := range []struct {
			make func() (fmt.Stringer, error)
			want string
		}{
			//nolint:staticcheck // the deprecated ones are tested too
			{func() (fmt.Stringer, error) { return EthereumFromTLSKey(key) }, c.EthereumAddress},
			{func() (fmt.Stringer, error) { return EthereumFromTLSKeySecure(key) }, c.EthereumAddressSecure},
			{func() (fmt.Stringer, error) { return SolanaFromTLSKey(key) }, c.SolanaPublic},
			{func() (fmt.Stringer, error) { return SolanaFromTLSKeySecure(key) }, c.SolanaPublicSecure},
		} {
			account, err := pair.make()
			if err != nil || account.String() != pair.want {
				t.Errorf("%s, not %s: %v", account, pair.want, err)
			}
		}
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	for _, secret := range [][]byte{nil, make([]byte, 31), make([]byte, 33)} {
		key := &bylaw.Key{Secret: bylaw.NewSecret(secret)}
		if _, err := NewEthereum(key); err == nil {
			t.Errorf("Ethereum: %d bytes accepted", len(secret))
		}
		if _, err := NewSolana(key); err == nil {
			t.Errorf("Solana: %d bytes accepted", len(secret))
		}
	}
	for _, secret := range [][]byte{make([]byte, 32), bytes.Repeat([]byte{255}, 32)} {
		if _, err := NewEthereum(&bylaw.Key{Secret: bylaw.NewSecret(secret)}); err == nil {
			t.Errorf("%x accepted", secret)
		}
	}
	for _, text := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"} {
		key := &bylaw.TLSKey{Key: bylaw.NewSecret([]byte(text))}
		if _, err := EthereumFromTLSKeySecure(key); err == nil {
			t.Errorf("%q accepted", text)
		}
		if _, err := SolanaFromTLSKeySecure(key); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}
