package kms

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

const someAddress = "0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0"

func TestBadNodes(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		part   string
	}{
		"no JSON":       {200, "<html>", "no JSON-RPC"},
		"unavailable":   {503, "", "503"},
		"refusal":       {200, `{"error":{"code":-32000,"message":"no such block"}}`, "no such block"},
		"no result":     {200, `{"id":1}`, "`result`"},
		"null":          {200, `{"result":null}`, "`result`"},
		"number":        {200, `{"result":7}`, "no JSON-RPC"},
		"no hex":        {200, `{"result":"0xzz"}`, "hexadecimal"},
		"nothing there": {200, `{"result":"0x"}`, "no KmsAuth"},
		"one word":      {200, `{"result":"0x` + strings.Repeat("00", 32) + `"}`, "four byte strings"},
		"too long":      {200, strings.Repeat(" ", maxAnswer+1), "exceeds"},
	} {
		t.Run(name, func(t *testing.T) {
			node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer node.Close()
			if _, err := FetchRoot(t.Context(), node.URL, someAddress); err == nil || !strings.Contains(err.Error(), c.part) {
				t.Error(err)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx          context.Context
		url, address string
	}{
		{t.Context(), "http://127.0.0.1:1", "0x12"},
		{t.Context(), "http://127.0.0.1:1", "KmsAuth"},
		{t.Context(), "http://127.0.0.1:1", someAddress},
		{t.Context(), "ftp://127.0.0.1", someAddress},
		{t.Context(), "::", someAddress},
		{ctx, "http://127.0.0.1:1", someAddress},
	} {
		if root, err := FetchRoot(c.ctx, c.url, c.address); err == nil {
			t.Errorf("%s at %s is %v", c.address, c.url, root)
		}
	}
}

// An answer that names no root must never verify anything.
func TestNoRootVerifiesNothing(t *testing.T) {
	for _, root := range []*Root{nil, {}, {K256Public: make([]byte, 32)}} {
		if _, err := VerifyKey(root, make([]byte, 20), "", make([]byte, 32), [][]byte{make([]byte, 65), make([]byte, 65)}); err == nil {
			t.Errorf("%v verifies", root)
		}
	}
	if _, err := NewRoot(nil, nil); err == nil || !strings.Contains(err.Error(), "KmsAuth names no KMS root") {
		t.Error(err)
	}
}

func TestDerivedKeys(t *testing.T) {
	key := func(secret []byte) *bylaw.Key {
		return &bylaw.Key{Secret: bylaw.NewSecret(secret), SignatureChain: [][]byte{make([]byte, 65), make([]byte, 65)}}
	}
	root := &Root{K256Public: make([]byte, 33)}
	for name, c := range map[string]struct {
		algorithm string
		secret    []byte
	}{
		"no such algorithm":   {"rsa", make([]byte, 32)},
		"prehashed":           {bylaw.Secp256k1Prehashed, make([]byte, 32)},
		"zero":                {bylaw.Secp256k1, make([]byte, 32)},
		"empty":               {bylaw.Ed25519, nil},
		"seed of 31 bytes":    {bylaw.Ed25519, make([]byte, 31)},
		"signatures are zero": {bylaw.Ed25519, make([]byte, 32)},
	} {
		_, err := VerifyDerivedKey(root, make([]byte, 20), "", c.algorithm, key(c.secret))
		refusal(t, err)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The key vectors were computed independently of this code.
func TestDerivedKeyVectors(t *testing.T) {
	var file struct {
		Inputs struct {
			Root  vectors.Hex `json:"root_k256_scalar"`
			AppID vectors.Hex `json:"app_id"`
		} `json:"inputs"`
		GetKey []struct {
			Purpose   string        `json:"purpose"`
			Algorithm string        `json:"algorithm"`
			Key       vectors.Hex   `json:"key"`
			Chain     []vectors.Hex `json:"signature_chain"`
		} `json:"get_key"`
		App struct {
			Public vectors.Hex `json:"pubkey_compressed"`
		} `json:"app_k256_key"`
	}
	if err := json.Unmarshal(vectors.Read(t, "keys", "key-vectors.json"), &file); err != nil {
		t.Fatal(err)
	}
	private, err := recoverable.PrivateKey(file.Inputs.Root)
	if err != nil || len(file.GetKey) == 0 {
		t.Fatal(err, "no cases")
	}
	root := &Root{K256Public: private.PubKey().SerializeCompressed()}
	for _, c := range file.GetKey {
		key := &bylaw.Key{Secret: bylaw.NewSecret(c.Key), SignatureChain: vectors.Lists(c.Chain)}
		app, err := VerifyDerivedKey(root, file.Inputs.AppID, c.Purpose, c.Algorithm, key)
		if err != nil || !bytes.Equal(app, file.App.Public) {
			t.Errorf("%+v: %x, %v", c, app, err)
		}
		if _, err := VerifyDerivedKey(root, file.Inputs.AppID, c.Purpose+"x", c.Algorithm, key); err == nil {
			t.Errorf("%+v: another purpose is accepted", c)
		}
	}
}

func FuzzDecodeRoot(f *testing.F) {
	for _, c := range vectors.Load[[]struct {
		ReturnData vectors.Hex `json:"return_data"`
	}](f, "kms_info.json") {
		f.Add([]byte(c.ReturnData))
	}
	f.Fuzz(func(t *testing.T, returned []byte) {
		root, err := DecodeRoot(returned)
		if err == nil && (len(root.K256Public) != 33 || len(root.CASPKI) == 0) {
			t.Errorf("root %s", hex.EncodeToString(root.K256Public))
		}
	})
}
