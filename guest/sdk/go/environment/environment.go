// Package environment seals environment variables so that only one app can read them.
//
// [EncryptSigned] (version 2) also tells the app who sent them, for which app and in which
// order. [Encrypt] (version 1) does none of that: whoever can write the file can replace it
// by another. Use it only for apps that do not know version 2.
package environment

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/jcs"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
)

const (
	// MaxName is the longest name of a variable, in characters.
	MaxName = 255
	// MaxValue is the longest value, in bytes of UTF-8.
	MaxValue = 128 << 10
	// MaxFile is the longest encrypted file, in bytes.
	MaxFile = 256 << 10

	appIDLength = 20
	magic       = "BYLAWENV"
	version     = 2
	keySalt     = "bylaw-env-v2"
	keyLength   = 32
)

var namePattern = regexp.MustCompile(`\A[a-zA-Z_][a-zA-Z0-9_]*\z`)

// Var is one environment variable. Its value does not print.
type Var struct {
	Name  string
	Value string
}

// String shows the name only.
func (v Var) String() string { return v.Name + "=[secret]" }

// GoString shows the name only.
func (v Var) GoString() string { return v.String() }

// Format shows the name only, whatever the verb.
func (v Var) Format(state fmt.State, _ rune) { _, _ = fmt.Fprint(state, v.String()) }

// Encrypt seals variables for the X25519 key of an app, in version 1: nobody else can read
// them, but anybody could have written them.
func Encrypt(vars []Var, recipientPublic []byte) ([]byte, error) {
	plaintext, err := encode(vars)
	if err != nil {
		return nil, err
	}
	fresh, err := newRandomness()
	if err != nil {
		return nil, err
	}
	sealed, err := seal(plaintext, recipientPublic, fresh, sharedSecret, nil)
	if err != nil {
		return nil, err
	}
	return sealed, checkFile(sealed)
}

// EncryptSigned seals variables for an app in version 2. The app's compose names who may
// sign and the least revision; the app also refuses a revision below the last it has seen.
// recipientPublic is the app's X25519 key as the KMS states it (kms.VerifyEnvKey).
func EncryptSigned(vars []Var, recipientPublic, appID []byte, revision uint64, signer Signer) ([]byte, error) {
	if len(appID) != appIDLength {
		return nil, fmt.Errorf("an app id has %d bytes, not %d", len(appID), appIDLength)
	}
	plaintext, err := encode(vars)
	if err != nil {
		return nil, err
	}
	fresh, err := newRandomness()
	if err != nil {
		return nil, err
	}
	envelope, err := sealSigned(plaintext, recipientPublic, [appIDLength]byte(appID), revision, signer, fresh)
	if err != nil {
		return nil, err
	}
	return envelope, checkFile(envelope)
}

func sealSigned(
	plaintext, recipientPublic []byte, appID [appIDLength]byte, revision uint64, signer Signer, fresh randomness,
) ([]byte, error) {
	header := binary.BigEndian.AppendUint64(append([]byte(magic), version), revision)
	aad := append(append([]byte{}, header...), appID[:]...)
	derive := func(shared, ephemeral, recipient []byte) ([]byte, error) {
		info := string(ephemeral) + string(recipient) + string(appID[:])
		return hkdf.Key(sha256.New, shared, []byte(keySalt), info, keyLength)
	}
	sealed, err := seal(plaintext, recipientPublic, fresh, derive, aad)
	if err != nil {
		return nil, err
	}
	digest := SigningDigest(appID, revision, sealed)
	signature, err := signer(digest)
	if err != nil {
		return nil, fmt.Errorf("the signer fails: %w", err)
	}
	signature, err = recoverable.Normalize(signature)
	if err != nil {
		return nil, fmt.Errorf("the signer returns something else than r, s and v: %w", err)
	}
	if _, err := recoverable.Recover(signature, digest); err != nil {
		return nil, fmt.Errorf("the signer's signature does not hold: %w", err)
	}
	return append(append(header, signature...), sealed...), nil
}

// encode writes the plaintext, refusing what the guest would refuse.
func encode(vars []Var) ([]byte, error) {
	seen := make(map[string]bool, len(vars))
	out := []byte(`{"env":[`)
	for index, v := range vars {
		if err := v.check(); err != nil {
			return nil, fmt.Errorf("variable %d: %w", index, err)
		}
		if seen[v.Name] {
			return nil, fmt.Errorf("variable %d: the name %s appears twice", index, v.Name)
		}
		seen[v.Name] = true
		if index > 0 {
			out = append(out, ',')
		}
		out = jcs.AppendString(append(out, `{"key":`...), v.Name)
		out = append(jcs.AppendString(append(out, `,"value":`...), v.Value), '}')
	}
	return append(out, "]}"...), nil
}

func (v Var) check() error {
	if len(v.Name) > MaxName {
		return fmt.Errorf("the name has %d characters, the limit is %d", len(v.Name), MaxName)
	}
	if !namePattern.MatchString(v.Name) {
		return fmt.Errorf("the name %q is not letters, digits and underscores, beginning with no digit", v.Name)
	}
	switch {
	case len(v.Value) > MaxValue:
		return fmt.Errorf("the value of %s has %d bytes, the limit is %d", v.Name, len(v.Value), MaxValue)
	case !utf8.ValidString(v.Value):
		return fmt.Errorf("the value of %s is not UTF-8", v.Name)
	case strings.ContainsRune(v.Value, 0):
		return fmt.Errorf("the value of %s contains a NUL byte", v.Name)
	}
	return nil
}

func checkFile(file []byte) error {
	if len(file) > MaxFile {
		return fmt.Errorf("the encrypted file has %d bytes, the limit is %d", len(file), MaxFile)
	}
	return nil
}

// randomness is what makes one encryption differ from the next.
type randomness struct {
	ephemeral *ecdh.PrivateKey
	iv        [12]byte
}

func newRandomness() (randomness, error) {
	var fresh randomness
	var err error
	if fresh.ephemeral, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return fresh, fmt.Errorf("no randomness: %w", err)
	}
	if _, err = rand.Read(fresh.iv[:]); err != nil {
		return fresh, fmt.Errorf("no randomness: %w", err)
	}
	return fresh, nil
}

// keyDerivation makes the cipher's key from the X25519 shared secret and both public keys.
type keyDerivation func(shared, ephemeral, recipient []byte) ([]byte, error)

// sharedSecret is the derivation of version 1: none.
func sharedSecret(shared, _, _ []byte) ([]byte, error) { return shared, nil }

// seal writes ephemeral public key, IV, and ciphertext with its tag.
func seal(
	plaintext, recipientPublic []byte, fresh randomness, derive keyDerivation, aad []byte,
) ([]byte, error) {
	recipient, err := ecdh.X25519().NewPublicKey(recipientPublic)
	if err != nil {
		return nil, fmt.Errorf("the recipient's X25519 key has %d bytes, not 32", len(recipientPublic))
	}
	// Fails for a key of low order, whose shared secret is all zero.
	shared, err := fresh.ephemeral.ECDH(recipient)
	if err != nil {
		return nil, fmt.Errorf("the recipient's X25519 key is of low order, so everybody could decrypt")
	}
	ephemeral := fresh.ephemeral.PublicKey().Bytes()
	key, err := derive(shared, ephemeral, recipientPublic)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	out := append(append([]byte{}, ephemeral...), fresh.iv[:]...)
	return gcm.Seal(out, fresh.iv[:], plaintext, aad), nil
}
