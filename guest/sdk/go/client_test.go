package bylaw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// agent answers every call with one handler and returns a client of it.
func agent(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := New(Options{Endpoint: server.URL + "/"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func answering(t *testing.T, status int, body string) *Client {
	t.Helper()
	return agent(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

var (
	hex32 = strings.Repeat("ab", 32)
	hex65 = strings.Repeat("cd", 65)
)

// method is one call and a good answer to it.
type method struct {
	name   string
	call   func(*Client) error
	answer map[string]any
}

func methods() []method {
	ctx := context.Background()
	return []method{
		{"GetKey", func(c *Client) error { _, err := c.GetKey(ctx, "a", "b", Ed25519); return err },
			map[string]any{"key": hex32, "signature_chain": []string{hex65, hex65}}},
		{"GetTlsKey", func(c *Client) error { _, err := c.GetTLSKey(ctx, TLSKeyOptions{}); return err },
			map[string]any{"key": "PEM", "certificate_chain": []string{"PEM"}}},
		{"GetQuote", func(c *Client) error { _, err := c.GetQuote(ctx, nil); return err },
			map[string]any{"quote": "00", "event_log": "[]", "report_data": "00", "vm_config": "{}"}},
		{"Attest", func(c *Client) error { _, err := c.Attest(ctx, nil); return err },
			map[string]any{"attestation": "00"}},
		{"Info", func(c *Client) error { _, err := c.Info(ctx); return err }, map[string]any{
			"app_id": "00", "instance_id": "00", "app_name": "n", "app_cert": "c", "tcb_info": "",
			"device_id": "00", "mr_aggregated": "00", "os_image_hash": "00", "compose_hash": "00",
			"key_provider_info": "{}", "vm_config": "", "cloud_vendor": "", "cloud_product": "",
		}},
		{"GpuInfo", func(c *Client) error { _, err := c.GPUInfo(ctx); return err },
			map[string]any{"attestation": ""}},
		{"Sign", func(c *Client) error { _, err := c.Sign(ctx, Ed25519, nil); return err },
			map[string]any{"signature": "00", "signature_chain": []string{"00", "", ""}, "public_key": "00"}},
		{"Verify", func(c *Client) error { _, err := c.Verify(ctx, Ed25519, nil, nil, nil); return err },
			map[string]any{"valid": true}},
		{"Version", func(c *Client) error { _, err := c.Version(ctx); return err },
			map[string]any{"version": "1", "rev": ""}},
	}
}

func text(t *testing.T, value any) string {
	t.Helper()
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestGoodAnswersAreRead(t *testing.T) {
	for _, m := range methods() {
		m.answer["unknown"] = []int{1}
		client := agent(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.URL.Path != "/"+m.name ||
				r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: request %s %s", m.name, r.Method, r.URL)
			}
			_, _ = io.WriteString(w, text(t, m.answer))
		})
		if err := m.call(client); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// Each field of each answer is required, and of its type.
func TestBadAnswersNameTheField(t *testing.T) {
	for _, m := range methods() {
		for field := range m.answer {
			for _, value := range []any{nil, 7, []any{nil}, []int{1}, map[string]int{}, "missing"} {
				changed := map[string]any{}
				for name, good := range m.answer {
					changed[name] = good
				}
				if value == "missing" {
					delete(changed, field)
				} else {
					changed[field] = value
				}
				err := m.call(answering(t, 200, text(t, changed)))
				var unusable *AnswerError
				if !errors.As(err, &unusable) || !strings.Contains(err.Error(), "`"+field+"`") {
					t.Errorf("%s with %s = %v: %v", m.name, field, value, err)
				}
			}
		}
		for _, body := range []string{"", "null", "[]", "7", `"x"`, "<html>", "{", `{"key":`} {
			var unusable *AnswerError
			if err := m.call(answering(t, 200, body)); !errors.As(err, &unusable) {
				t.Errorf("%s with %q: %v", m.name, body, err)
			}
		}
	}
}

func TestWrongShapesAreRefused(t *testing.T) {
	ctx := context.Background()
	for body, part := range map[string]string{
		`{"key":"ab","signature_chain":["",""]}`:                    "32",
		`{"key":"zz","signature_chain":["",""]}`:                    "`key` is not hex",
		`{"key":"` + hex32 + `","signature_chain":[]}`:              "0 entries",
		`{"key":"` + hex32 + `","signature_chain":["a","b"]}`:       "`signature_chain` is not hex",
		`{"key":"` + hex32 + `","signature_chain":["","",""]}`:      "3 entries",
		`{"key":"` + hex32 + `","signature_chain":"` + hex65 + `"}`: "list of texts",
	} {
		if _, err := answering(t, 200, body).GetKey(ctx, "", "", ""); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", body, err)
		} else if strings.Contains(err.Error(), hex32) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	if _, err := answering(t, 200, `{"key":"k","certificate_chain":[]}`).GetTLSKey(ctx, TLSKeyOptions{}); err == nil {
		t.Error("no certificates accepted")
	}
	if _, err := answering(t, 200, `{"signature":"","signature_chain":["",""],"public_key":""}`).Sign(ctx, "", nil); err == nil {
		t.Error("a chain of two accepted")
	}
	if _, err := answering(t, 200, `{"attestation":""}`).Attest(ctx, nil); err == nil {
		t.Error("no attestation accepted")
	}
	if valid, err := answering(t, 200, `{"valid":false}`).Verify(ctx, "", nil, nil, nil); valid || err != nil {
		t.Errorf("valid %v, %v", valid, err)
	}
}

func TestTCBInfoIsDecoded(t *testing.T) {
	answer := methods()[4].answer
	inner := map[string]any{
		"mrtd": "aa", "rtmr0": "b0", "rtmr1": "b1", "rtmr2": "b2", "rtmr3": nil, "mr_aggregated": "c",
		"os_image_hash": "d", "compose_hash": "e", "device_id": "f", "app_compose": "{}",
		"event_log": []any{map[string]any{
			"imr": 3, "event_type": 134217729, "digest": "", "event": "app-id", "event_payload": "01",
		}},
	}
	answer["tcb_info"] = text(t, inner)
	info, err := answering(t, 200, text(t, answer)).Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tcb := info.TCBInfo
	if tcb == nil || tcb.MRTD != "aa" || tcb.RTMRs != [4]string{"b0", "b1", "b2", ""} || tcb.AppCompose != "{}" ||
		len(tcb.EventLog) != 1 || tcb.EventLog[0].Name != "app-id" {
		t.Errorf("TCB info %+v", tcb)
	}
	for field := range inner {
		changed := map[string]any{}
		for name, value := range inner {
			changed[name] = value
		}
		delete(changed, field)
		answer["tcb_info"] = text(t, changed)
		_, err := answering(t, 200, text(t, answer)).Info(context.Background())
		if err == nil || !strings.Contains(err.Error(), "tcb_info."+field) {
			t.Errorf("without %s: %v", field, err)
		}
	}
	for _, broken := range []string{"{", "[]", "null", "7"} {
		answer["tcb_info"] = broken
		if _, err := answering(t, 200, text(t, answer)).Info(context.Background()); err == nil {
			t.Errorf("%q accepted", broken)
		}
	}
}

func TestRefusalsAreTyped(t *testing.T) {
	ctx := context.Background()
	_, err := answering(t, 400, `{"error": "Unsupported algorithm", "code": "bad_request"}`).GetKey(ctx, "", "", "x")
	var refused *CallError
	if !errors.As(err, &refused) || refused.Status != 400 || refused.Code != "bad_request" ||
		refused.Message != "Unsupported algorithm" || refused.Method != "GetKey" {
		t.Errorf("%#v", err)
	}
	for _, body := range []string{"", "null", "[]", "{}", `{"error":7}`, "<html>\xff" + strings.Repeat("x", 10_000)} {
		for _, status := range []int{301, 400, 404, 500} {
			_, err := answering(t, status, body).Version(ctx)
			if !errors.As(err, &refused) || refused.Status != status || refused.Code != "" || len(err.Error()) > 1000 {
				t.Errorf("%d %.20q: %v", status, body, err)
			}
		}
	}
	if err := answering(t, 404, "").EmitEvent(ctx, "a", nil); !errors.As(err, &refused) {
		t.Errorf("EmitEvent: %v", err)
	}
	if err := answering(t, 200, "null").EmitEvent(ctx, "a", nil); err != nil {
		t.Errorf("EmitEvent: %v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer other.Close()
	client := agent(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := client.Version(context.Background()); err == nil {
		t.Error("a redirect is accepted")
	}
}

func TestLongAnswersAreRefused(t *testing.T) {
	client := agent(t, func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat(" ", 1<<20))
		for range MaxAnswer>>20 + 1 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if _, err := client.Version(context.Background()); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Error(err)
	}
}

func TestSlowAndBrokenAnswers(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(release)
	client, err := New(Options{Endpoint: server.URL, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Version(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
	patient, err := New(Options{Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if patient.IsReachable(context.Background()) || time.Since(begun) > 5*time.Second {
		t.Errorf("a slow agent is reachable, after %s", time.Since(begun))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := patient.Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	broken := agent(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
	})
	if _, err := broken.Version(context.Background()); err == nil || !strings.Contains(err.Error(), "breaks off") {
		t.Errorf("cut: %v", err)
	}
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"version":"1","rev":"r"}`)
	})}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	t.Setenv(EndpointVariable, path)
	for _, endpoint := range []string{path, "unix:" + path, ""} {
		client, err := New(Options{Endpoint: endpoint})
		if err != nil {
			t.Fatal(err)
		}
		version, err := client.Version(context.Background())
		if err != nil || version.Version != "1" || version.Revision != "r" {
			t.Errorf("%q: %+v, %v", endpoint, version, err)
		}
		if !client.IsReachable(context.Background()) {
			t.Error("not reachable")
		}
	}
	gone, err := New(Options{Endpoint: path + "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Version(context.Background()); err == nil || !strings.Contains(err.Error(), path+"x") {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	t.Setenv(EndpointVariable, "")
	before := Sockets
	defer func() { Sockets = before }()
	present := filepath.Join(t.TempDir(), "present")
	listener, err := net.Listen("unix", present)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	Sockets = []string{present + "-absent", present}
	client, err := New(Options{})
	if err != nil || client.Endpoint() != present {
		t.Errorf("%v, %v", client, err)
	}
	Sockets = Sockets[:1]
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), EndpointVariable) {
		t.Error(err)
	}
	for _, bad := range []string{"http://", "https://\x00", "HTTP://"} {
		if _, err := New(Options{Endpoint: bad}); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestRequests(t *testing.T) {
	ctx := context.Background()
	var got map[string]any
	client := agent(t, func(w http.ResponseWriter, r *http.Request) {
		got = nil
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "{}")
	})
	_, _ = client.GetTLSKey(ctx, TLSKeyOptions{})
	if text(t, got) != `{"alt_names":[],"subject":"","usage_client_auth":false,"usage_ra_tls":false,`+
		`"usage_server_auth":true,"with_app_info":false}` {
		t.Error(text(t, got))
	}
	_, _ = client.GetTLSKey(ctx, TLSKeyOptions{
		Subject: "s", AltNames: []string{"a"}, RATLS: true, NoServerAuth: true, ClientAuth: true, AppInfo: true,
		NotBefore: time.Unix(1, 0), NotAfter: time.Unix(2, 0),
	})
	if text(t, got) != `{"alt_names":["a"],"not_after":2,"not_before":1,"subject":"s","usage_client_auth":true,`+
		`"usage_ra_tls":true,"usage_server_auth":false,"with_app_info":true}` {
		t.Error(text(t, got))
	}
	if _, err := client.GetTLSKey(ctx, TLSKeyOptions{NotAfter: time.Unix(-1, 0)}); err == nil {
		t.Error("a time before 1970 is accepted")
	}
	_, _ = client.GetQuote(ctx, []byte{1, 255})
	if text(t, got) != `{"report_data":"01ff"}` {
		t.Error(text(t, got))
	}
	if _, err := client.GetQuote(ctx, make([]byte, 65)); err == nil {
		t.Error("65 bytes accepted")
	}
	if _, err := client.Attest(ctx, make([]byte, 65)); err == nil {
		t.Error("65 bytes accepted")
	}
	_ = client.EmitEvent(ctx, "a", []byte{2})
	if text(t, got) != `{"event":"a","payload":"02"}` {
		t.Error(text(t, got))
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	secret := NewSecret([]byte("hunter2"))
	type owner struct {
		Public  Secret
		private Secret
		nested  []Secret
	}
	holder := owner{secret, secret, []Secret{secret}}
	shown := []string{text(t, secret), text(t, holder), text(t, Key{Secret: secret}), text(t, &TLSKey{Key: secret})}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U"} {
		for _, value := range []any{secret, &secret, holder, &holder, Key{Secret: secret}, &Key{Secret: secret}} {
			shown = append(shown, fmt.Sprintf(verb, value))
		}
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", secret, "holder", holder)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", secret, "holder", holder)
	for _, line := range append(shown, log.String()) {
		for _, form := range []string{"hunter2", "68756e74657232", "68756E74657232", "104 117 110", "0x68"} {
			if strings.Contains(line, form) {
				t.Errorf("%s shows the secret", line)
			}
		}
	}
	exposed := secret.Expose()
	exposed[0] = 'x'
	if string(secret.Expose()) != "hunter2" || (Secret{}).Expose() != nil {
		t.Error("a caller can change the secret")
	}
}
