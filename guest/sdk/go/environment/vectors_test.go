package environment

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

type wireVar struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type wireSealed struct {
	Vars            []wireVar   `json:"vars"`
	RecipientSecret vectors.Hex `json:"recipient_secret"`
	RecipientPublic vectors.Hex `json:"recipient_public"`
	EphemeralSecret vectors.Hex `json:"ephemeral_secret"`
	IV              vectors.Hex `json:"iv"`
	Plaintext       vectors.Hex `json:"plaintext"`
	Sealed          vectors.Hex `json:"sealed"`
}

type wireSigned struct {
	wireSealed
	AppID         vectors.Hex `json:"app_id"`
	Revision      uint64      `json:"revision"`
	SignerSecret  vectors.Hex `json:"signer_secret"`
	SignerAddress vectors.Hex `json:"signer_address"`
	Digest        vectors.Hex `json:"digest"`
	Envelope      vectors.Hex `json:"envelope"`
}

type wireNamed struct {
	Name string    `json:"name"`
	Vars []wireVar `json:"vars"`
}

type wireV2 struct {
	Good     []wireSigned `json:"good"`
	GoodVars []wireNamed  `json:"good_vars"`
	BadVars  []wireNamed  `json:"bad_vars"`
}

func (w *wireSealed) fresh(t *testing.T) randomness {
	t.Helper()
	ephemeral, err := ecdh.X25519().NewPrivateKey(w.EphemeralSecret)
	if err != nil {
		t.Fatal(err)
	}
	return randomness{ephemeral: ephemeral, iv: [12]byte(w.IV)}
}

func plain(vars []wireVar) []Var {
	out := make([]Var, 0, len(vars))
	for _, v := range vars {
		out = append(out, Var{Name: v.Key, Value: v.Value})
	}
	return out
}

func TestV1Vectors(t *testing.T) {
	cases := vectors.Load[[]wireSealed](t, "env_v1.json")
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for i, c := range cases {
		plaintext, err := encode(plain(c.Vars))
		if err != nil || !bytes.Equal(plaintext, c.Plaintext) {
			t.Errorf("%d: plaintext %s, %v", i, plaintext, err)
		}
		sealed, err := seal(plaintext, c.RecipientPublic, c.fresh(t), sharedSecret, nil)
		if err != nil || !bytes.Equal(sealed, c.Sealed) {
			t.Errorf("%d: sealed %x, %v", i, sealed, err)
		}
		fresh, err := Encrypt(plain(c.Vars), c.RecipientPublic)
		if err != nil || len(fresh) != len(c.Sealed) || bytes.Equal(fresh, c.Sealed) {
			t.Errorf("%d: a fresh encryption has %d bytes, %v", i, len(fresh), err)
		}
	}
}

func TestV2Vectors(t *testing.T) {
	file := vectors.Load[wireV2](t, "env_v2.json")
	if len(file.Good) == 0 || len(file.BadVars) == 0 || len(file.GoodVars) == 0 {
		t.Fatal("no cases")
	}
	for i, c := range file.Good {
		appID := [appIDLength]byte(c.AppID)
		if digest := SigningDigest(appID, c.Revision, c.Sealed); !bytes.Equal(digest[:], c.Digest) {
			t.Errorf("%d: digest %x", i, digest)
		}
		signer, err := NewKeySigner(c.SignerSecret)
		if err != nil {
			t.Fatal(err)
		}
		plaintext, err := encode(plain(c.Vars))
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := sealSigned(plaintext, c.RecipientPublic, appID, c.Revision, signer, c.fresh(t))
		if err != nil || !bytes.Equal(envelope, c.Envelope) {
			t.Errorf("%d: envelope %x, %v", i, envelope, err)
		}
		for name, other := range otherSigners(signer) {
			envelope, err := sealSigned(plaintext, c.RecipientPublic, appID, c.Revision, other, c.fresh(t))
			if err != nil || !bytes.Equal(envelope, c.Envelope) {
				t.Errorf("%d: signer with %s: %v", i, name, err)
			}
		}
		fresh, err := EncryptSigned(plain(c.Vars), c.RecipientPublic, c.AppID, c.Revision, signer)
		if err != nil || len(fresh) != len(c.Envelope) {
			t.Fatalf("%d: a fresh encryption has %d bytes, %v", i, len(fresh), err)
		}
		const header = 8 + 1 + 8
		digest := SigningDigest(appID, c.Revision, fresh[header+recoverable.Length:])
		public, err := recoverable.Recover(fresh[header:header+recoverable.Length], digest)
		if err != nil {
			t.Fatal(err)
		}
		if want := publicOf(t, c.SignerSecret); !bytes.Equal(public, want) {
			t.Errorf("%d: signed by %x, not %x", i, public, want)
		}
	}
}

func publicOf(t *testing.T, secret []byte) []byte {
	t.Helper()
	key, err := recoverable.PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return key.PubKey().SerializeCompressed()
}

// otherSigners writes the same signature as other programs would.
func otherSigners(signer Signer) map[string]Signer {
	return map[string]Signer{
		"v of 27 or 28": func(digest [32]byte) ([]byte, error) {
			signature, err := signer(digest)
			signature[64] += 27
			return signature, err
		},
		"a high s": func(digest [32]byte) ([]byte, error) {
			signature, err := signer(digest)
			var s secp256k1.ModNScalar
			s.SetByteSlice(signature[32:64])
			s.Negate().PutBytesUnchecked(signature[32:64])
			signature[64] ^= 1
			return signature, err
		},
	}
}

func TestVarsVectors(t *testing.T) {
	file := vectors.Load[wireV2](t, "env_v2.json")
	recipient := file.Good[0].RecipientPublic
	signer, err := NewKeySigner(file.Good[0].SignerSecret)
	if err != nil {
		t.Fatal(err)
	}
	appID := file.Good[0].AppID
	check := func(name string, vars []wireVar, good bool) {
		_, v1 := Encrypt(plain(vars), recipient)
		_, v2 := EncryptSigned(plain(vars), recipient, appID, 1, signer)
		for _, err := range []error{v1, v2} {
			if (err == nil) != good {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil && strings.Contains(err.Error(), strings.Repeat("x", 100)) {
				t.Errorf("%s: the error shows a value", name)
			}
		}
	}
	for _, c := range file.GoodVars {
		check(c.Name, c.Vars, true)
	}
	for _, c := range file.BadVars {
		check(c.Name, c.Vars, false)
	}
}

func TestRecipientsAreChecked(t *testing.T) {
	lowOrder, _ := hex.DecodeString("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
	for name, recipient := range map[string][]byte{
		"zero": make([]byte, 32), "low order": lowOrder, "short": make([]byte, 31), "none": nil,
	} {
		if _, err := Encrypt(nil, recipient); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSignersAreChecked(t *testing.T) {
	recipient := vectors.Load[wireV2](t, "env_v2.json").Good[0].RecipientPublic
	for name, signer := range map[string]Signer{
		"failing":       func([32]byte) ([]byte, error) { return nil, fmt.Errorf("locked") },
		"short":         func([32]byte) ([]byte, error) { return make([]byte, 64), nil },
		"zero":          func([32]byte) ([]byte, error) { return make([]byte, 65), nil },
		"v of 2":        func([32]byte) ([]byte, error) { return append(bytes.Repeat([]byte{1}, 64), 2), nil },
		"s beyond":      func([32]byte) ([]byte, error) { return append(bytes.Repeat([]byte{255}, 64), 0), nil },
		"no such point": func([32]byte) ([]byte, error) { return append(bytes.Repeat([]byte{5}, 64), 0), nil },
	} {
		if _, err := EncryptSigned(nil, recipient, make([]byte, 20), 1, signer); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, secret := range [][]byte{nil, make([]byte, 32), bytes.Repeat([]byte{255}, 32), make([]byte, 33)} {
		if _, err := NewKeySigner(secret); err == nil {
			t.Errorf("key %x accepted", secret)
		}
	}
	signer, _ := NewKeySigner(bytes.Repeat([]byte{1}, 32))
	if _, err := EncryptSigned(nil, recipient, make([]byte, 19), 1, signer); err == nil {
		t.Error("app id of 19 bytes accepted")
	}
}

func TestValuesDoNotPrint(t *testing.T) {
	v := Var{Name: "API_KEY", Value: "hunter2"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, text := range []string{fmt.Sprintf(verb, v), fmt.Sprintf(verb, []Var{v}), fmt.Sprintf(verb, &v)} {
			if strings.Contains(text, "hunter2") || strings.Contains(text, hex.EncodeToString([]byte("hunter2"))) {
				t.Errorf("%s shows %s", verb, text)
			}
		}
	}
}
