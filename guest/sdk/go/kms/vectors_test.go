package kms

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

// refusal demands a VerifyError.
func refusal(t *testing.T, err error) {
	t.Helper()
	var verdict *bylaw.VerifyError
	if !errors.As(err, &verdict) || verdict.Code == "" || verdict.Reason == "" {
		t.Fatalf("not a VerifyError: %v", err)
	}
}

func TestKeyChainVectors(t *testing.T) {
	good := 0
	for _, c := range vectors.Load[[]struct {
		Name      string        `json:"name"`
		Root      vectors.Hex   `json:"root"`
		AppID     vectors.Hex   `json:"app_id"`
		Purpose   string        `json:"purpose"`
		PublicKey vectors.Hex   `json:"public_key"`
		Chain     []vectors.Hex `json:"chain"`
		OK        bool          `json:"ok"`
		AppPublic vectors.Hex   `json:"app_public"`
	}](t, "key_chain.json") {
		t.Run(c.Name, func(t *testing.T) {
			app, err := VerifyKey(&Root{K256Public: c.Root}, c.AppID, c.Purpose, c.PublicKey, vectors.Lists(c.Chain))
			switch {
			case !c.OK && err == nil:
				t.Fatal("accepted")
			case !c.OK:
				refusal(t, err)
			case err != nil:
				t.Fatal(err)
			case !bytes.Equal(app, c.AppPublic):
				t.Fatalf("app key %x, not %x", app, c.AppPublic)
			default:
				good++
			}
		})
	}
	if good == 0 {
		t.Fatal("no good case")
	}
}

func TestSignVectors(t *testing.T) {
	good := 0
	for _, c := range vectors.Load[[]struct {
		Name           string        `json:"name"`
		Root           vectors.Hex   `json:"root"`
		AppID          vectors.Hex   `json:"app_id"`
		Algorithm      string        `json:"algorithm"`
		Data           vectors.Hex   `json:"data"`
		Signature      vectors.Hex   `json:"signature"`
		SignatureChain []vectors.Hex `json:"signature_chain"`
		PublicKey      vectors.Hex   `json:"public_key"`
		OK             bool          `json:"ok"`
	}](t, "sign.json") {
		t.Run(c.Name, func(t *testing.T) {
			_, err := VerifySignature(&Root{K256Public: c.Root}, c.AppID, c.Algorithm, c.Data, &bylaw.Signature{
				Signature: c.Signature, SignatureChain: vectors.Lists(c.SignatureChain), PublicKey: c.PublicKey,
			})
			switch {
			case !c.OK && err == nil:
				t.Fatal("accepted")
			case !c.OK:
				refusal(t, err)
			case err != nil:
				t.Fatal(err)
			default:
				good++
			}
		})
	}
	if good == 0 {
		t.Fatal("no good case")
	}
}

func TestEnvKeyVectors(t *testing.T) {
	good, goodLegacy := 0, 0
	for _, c := range vectors.Load[[]struct {
		Name        string      `json:"name"`
		PublicKey   vectors.Hex `json:"public_key"`
		AppID       vectors.Hex `json:"app_id"`
		Timestamp   uint64      `json:"timestamp"`
		SignatureV1 vectors.Hex `json:"signature_v1"`
		Signature   vectors.Hex `json:"signature"`
		Root        vectors.Hex `json:"root"`
		Now         int64       `json:"now"`
		OK          bool        `json:"ok"`
		OKLegacy    bool        `json:"ok_legacy"`
	}](t, "env_key.json") {
		t.Run(c.Name, func(t *testing.T) {
			root := &Root{K256Public: c.Root}
			options := EnvKeyOptions{Root: root, Now: time.Unix(c.Now, 0)}
			signer, err := VerifyEnvKey(c.PublicKey, c.AppID, c.Timestamp, c.SignatureV1, options)
			if (err == nil) != c.OK || (c.OK && !bytes.Equal(signer, c.Root)) {
				t.Errorf("signature_v1: signer %x, %v", signer, err)
			}
			if c.OK {
				good++
				options.Root = nil
				if signer, err := VerifyEnvKey(c.PublicKey, c.AppID, c.Timestamp, c.SignatureV1, options); err != nil ||
					!bytes.Equal(signer, c.Root) {
					t.Errorf("without a root: signer %x, %v", signer, err)
				}
			} else {
				refusal(t, err)
			}
			legacy, err := VerifyEnvKeyLegacy(c.PublicKey, c.AppID, c.Signature, root)
			if (err == nil) != c.OKLegacy || (c.OKLegacy && !bytes.Equal(legacy, c.Root)) {
				t.Errorf("signature: signer %x, %v", legacy, err)
			}
			if c.OKLegacy {
				goodLegacy++
			}
		})
	}
	if good == 0 || goodLegacy == 0 {
		t.Fatal("no good case")
	}
}

func TestKMSInfoVectors(t *testing.T) {
	good := 0
	for _, c := range vectors.Load[[]struct {
		Name       string      `json:"name"`
		ReturnData vectors.Hex `json:"return_data"`
		K256Public vectors.Hex `json:"k256_public"`
		CASPKI     vectors.Hex `json:"ca_spki"`
		OK         bool        `json:"ok"`
	}](t, "kms_info.json") {
		t.Run(c.Name, func(t *testing.T) {
			const address = "0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0"
			var asked string
			node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var request struct {
					Method string `json:"method"`
					Params []any  `json:"params"`
				}
				if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
					t.Error(err)
				}
				asked = fmt.Sprint(request.Method, request.Params)
				_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":"0x%s"}`, hex.EncodeToString(c.ReturnData))
			}))
			defer node.Close()
			root, err := FetchRoot(t.Context(), node.URL, address)
			if !strings.Contains(asked, address) || !strings.Contains(asked, "finalized") ||
				!strings.HasPrefix(asked, "eth_call") {
				t.Errorf("asked for %s", asked)
			}
			switch {
			case !c.OK && err == nil:
				t.Fatal("accepted")
			case !c.OK:
				refusal(t, err)
			case err != nil:
				t.Fatal(err)
			case !bytes.Equal(root.K256Public, c.K256Public) || !bytes.Equal(root.CASPKI, c.CASPKI):
				t.Fatalf("root %+v", root)
			default:
				good++
			}
		})
	}
	if good == 0 {
		t.Fatal("no good case")
	}
}
