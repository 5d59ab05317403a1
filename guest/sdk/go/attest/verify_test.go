package attest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

// sample is the vectors' own evidence, what is expected of it, and a verifier for it.
func sample(t *testing.T) (*wireFile, Expect, *Verifier) {
	t.Helper()
	file := vectors.Load[wireFile](t, "evidence.json")
	own := file.with(wireCase{})
	return &file, own.Expect.expect(), own.verifiers(t)["fixed"]
}

func TestExpectationsAreChecked(t *testing.T) {
	file, good, verifier := sample(t)
	for name, change := range map[string]func(*Expect){
		"nothing":                func(e *Expect) { e.ReportData = nil },
		"both":                   func(e *Expect) { e.TLSKey = []byte{1} },
		"report data cut":        func(e *Expect) { e.ReportData = e.ReportData[:63] },
		"app id cut":             func(e *Expect) { e.AppID = e.AppID[:19] },
		"app id empty":           func(e *Expect) { e.AppID = []byte{} },
		"compose hash cut":       func(e *Expect) { e.ComposeHash = e.ComposeHash[:31] },
		"device cut":             func(e *Expect) { e.DeviceIDs = [][]byte{make([]byte, 31)} },
		"measurement of nothing": func(e *Expect) { e.Measurements = []Measurement{{}} },
		"measurement cut":        func(e *Expect) { e.Measurements = []Measurement{{RTMR1: make([]byte, 47)}} },
	} {
		expect := good
		change(&expect)
		_, err := verifier.VerifyAttestation(context.Background(), file.AttestationV0, expect)
		demand(t, name, err, bylaw.RuleExpectation)
	}
	expect := good
	expect.DeviceIDs = [][]byte{}
	_, err := verifier.VerifyAttestation(context.Background(), file.AttestationV0, expect)
	demand(t, "no device may run it", err, bylaw.RuleDevice)
	expect = good
	expect.Measurements = []Measurement{}
	_, err = verifier.VerifyAttestation(context.Background(), file.AttestationV0, expect)
	demand(t, "no image may run", err, bylaw.RuleMeasurement)
	expect = good
	expect.KeyProviderID = []byte{}
	_, err = verifier.VerifyAttestation(context.Background(), file.AttestationV0, expect)
	demand(t, "an empty key provider", err, bylaw.RuleKeyProvider)
}

func demand(t *testing.T, name string, err error, rule bylaw.Rule) {
	t.Helper()
	var verdict *bylaw.VerifyError
	if !errors.As(err, &verdict) || verdict.Code != rule {
		t.Errorf("%s: not %s: %v", name, rule, err)
	}
}

func TestQuotesWithAttestation(t *testing.T) {
	file, expect, verifier := sample(t)
	// Where the platform has no quote of its own, the attestation counts.
	answer := &bylaw.Quote{Attestation: file.AttestationV1}
	if _, err := verifier.VerifyQuote(context.Background(), answer, expect); err != nil {
		t.Error(err)
	}
	parsed, err := bylaw.ParseQuote(file.GetQuote)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.VerifyQuote(context.Background(), parsed, expect); err != nil {
		t.Error(err)
	}
	parsed.ReportData = make([]byte, 65)
	_, err = verifier.VerifyQuote(context.Background(), parsed, expect)
	demand(t, "report data too long", err, bylaw.RuleEncoding)
}

// source fails as services do.
type source struct{ err error }

func (s source) Collateral(context.Context, []byte, string) (*Collateral, error) { return nil, s.err }

func TestMissingCollateralIsNoExcuse(t *testing.T) {
	file, expect, trusted := sample(t)
	verifier := *trusted
	verifier.collateral = source{errors.New("unplugged")}
	_, err := verifier.VerifyAttestation(context.Background(), file.AttestationV0, expect)
	demand(t, "no collateral", err, bylaw.RuleCollateral)
	if err == nil || !strings.Contains(err.Error(), "unplugged") {
		t.Error(err)
	}
	verifier.collateral = &Collateral{}
	_, err = verifier.VerifyAttestation(context.Background(), file.AttestationV0, expect)
	demand(t, "empty collateral", err, bylaw.RuleCollateral)
}

func TestBadCollateralServices(t *testing.T) {
	own := vectors.Load[wireFile](t, "evidence.json")
	fetch := func(t *testing.T, answers map[string]wireAnswer) error {
		service, err := NewPCCS(pccsServer(t, answers))
		if err != nil {
			t.Fatal(err)
		}
		_, err = service.Collateral(t.Context(), make([]byte, 6), "platform")
		return err
	}
	if err := fetch(t, own.PCCS); err != nil {
		t.Fatal(err)
	}
	anyAnswer := map[string]func(*wireAnswer){
		"not found":   func(a *wireAnswer) { a.Status = 404 },
		"unavailable": func(a *wireAnswer) { a.Status = 503 },
		"too long":    func(a *wireAnswer) { a.Body = make([]byte, maxCollateral+1) },
	}
	withChain := map[string]func(*wireAnswer){
		"no chain": func(a *wireAnswer) { a.Headers = nil },
		"bad chain": func(a *wireAnswer) {
			a.Headers = map[string]string{tcbChainHeader: "%zz", pckCRLChainHeader: "%zz", qeChainHeader: "%zz"}
		},
	}
	statement := map[string]func(*wireAnswer){}
	for name, body := range map[string]string{
		"no JSON": "<html>", "no member": `{"signature":"00"}`,
		"no signature":     `{"tcbInfo":{},"enclaveIdentity":{}}`,
		"signature no hex": `{"tcbInfo":{},"enclaveIdentity":{},"signature":"zz"}`,
	} {
		statement[name] = func(a *wireAnswer) { a.Body = []byte(body) }
	}
	for path, changes := range map[string][]map[string]func(*wireAnswer){
		sgxPath + "/rootcacrl":   {anyAnswer},
		sgxPath + "/pckcrl":      {anyAnswer, withChain},
		tdxPath + "/tcb":         {anyAnswer, withChain, statement},
		tdxPath + "/qe/identity": {anyAnswer, withChain, statement},
	} {
		for _, group := range changes {
			for name, change := range group {
				answers := maps.Clone(own.PCCS)
				answer, ok := answers[path]
				if !ok {
					t.Fatalf("no answer for %s", path)
				}
				change(&answer)
				answers[path] = answer
				if err := fetch(t, answers); err == nil {
					t.Errorf("%s, %s: accepted", path, name)
				}
			}
		}
	}
	for _, bad := range []string{"", "x", "ftp://x", "http://", "::"} {
		if _, err := NewPCCS(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestBadCollateralJSON(t *testing.T) {
	own := vectors.Load[wireFile](t, "evidence.json")
	var form map[string]any
	if err := json.Unmarshal(own.Collateral, &form); err != nil {
		t.Fatal(err)
	}
	for field := range form {
		for _, value := range []any{nil, 7, "zz"} {
			changed := map[string]any{}
			for name, good := range form {
				changed[name] = good
			}
			changed[field] = value
			content, err := json.Marshal(changed)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseCollateral(content)
			binary := strings.HasSuffix(field, "crl") || strings.HasSuffix(field, "signature")
			if (value != "zz" || binary) && (err == nil || !strings.Contains(err.Error(), field)) {
				t.Errorf("%s = %v: %v", field, value, err)
			}
		}
	}
	for _, text := range []string{"", "null", "[]", "{}"} {
		if _, err := ParseCollateral([]byte(text)); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}

type counting struct {
	asked atomic.Int32
	err   error
}

func (c *counting) Collateral(context.Context, []byte, string) (*Collateral, error) {
	c.asked.Add(1)
	return &Collateral{}, c.err
}

func TestCache(t *testing.T) {
	asked := &counting{}
	cache := NewCache(asked, time.Hour)
	for range 3 {
		for _, ca := range []string{"platform", "processor"} {
			if _, err := cache.Collateral(t.Context(), []byte{1}, ca); err != nil {
				t.Fatal(err)
			}
		}
	}
	if asked.asked.Load() != 2 {
		t.Errorf("asked %d times", asked.asked.Load())
	}
	for i := range 2 * maxCacheEntries {
		if _, err := cache.Collateral(t.Context(), []byte{byte(i), 2}, ""); err != nil || len(cache.entries) > maxCacheEntries {
			t.Fatalf("%d entries, %v", len(cache.entries), err)
		}
	}
	failing := &counting{err: io.ErrUnexpectedEOF}
	cache = NewCache(failing, time.Hour)
	for range 2 {
		if _, err := cache.Collateral(t.Context(), nil, ""); err == nil {
			t.Error("an error is forgotten")
		}
	}
	expired := &counting{}
	cache = NewCache(expired, -time.Second)
	for range 2 {
		_, _ = cache.Collateral(t.Context(), nil, "")
	}
	if failing.asked.Load() != 2 || expired.asked.Load() != 2 {
		t.Error("errors or old answers are remembered")
	}
}

func TestRoots(t *testing.T) {
	if _, err := New(Options{}); err != nil {
		t.Error(err)
	}
	root, err := intelRoot()
	if err != nil || root.Subject.CommonName != "Intel SGX Root CA" {
		t.Errorf("%v, %v", root, err)
	}
	if _, err := ParseRoot(root.Raw); err != nil {
		t.Error(err)
	}
	leaf := vectors.Load[wireFile](t, "certificate.json").Chain[2]
	for name, content := range map[string]string{
		"nothing": "", "text": "x", "a key": "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
		"no certificate": "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "cut": leaf[:100],
		"no CA": selfSigned(t),
	} {
		if _, err := ParseRoot([]byte(content)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// plainCertificate has no evidence in it.
func plainCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plain"},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(2_000_000_000, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func selfSigned(t *testing.T) string {
	t.Helper()
	return string(plainCertificate(t).Certificate[0])
}

// A client with this package's configuration must not talk to somebody without evidence,
// nor a server admit them.
func TestTLSWithoutEvidenceFails(t *testing.T) {
	_, _, verifier := sample(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request arrives")
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{plainCertificate(t)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: verifier.ClientTLS(nil, Expect{})}}
	_, err := client.Get(server.URL)
	demand(t, "server", err, bylaw.RuleEncoding)

	listener, err := tls.Listen("tcp", "127.0.0.1:0", verifier.ServerTLS(plainCertificate(t), nil, Expect{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	verdict := make(chan error, 1)
	go func() {
		connection, err := listener.Accept()
		if err == nil {
			err = connection.(*tls.Conn).HandshakeContext(context.Background())
			_ = connection.Close()
		}
		verdict <- err
	}()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer := tls.Client(connection, &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{plainCertificate(t)},
	})
	_ = peer.HandshakeContext(t.Context())
	demand(t, "client", <-verdict, bylaw.RuleEncoding)
	_ = peer.Close()
}

func TestChainsAreBounded(t *testing.T) {
	_, err := ParseChain(make([]byte, maxPEMLength+1))
	demand(t, "long", err, bylaw.RuleEncoding)
	_, err = ParseEvidence(make([]byte, MaxEvidence+1))
	demand(t, "long", err, bylaw.RuleEncoding)
	_, err = ParseDERChain(nil)
	demand(t, "none", err, bylaw.RuleEncoding)
	_, _, verifier := sample(t)
	_, err = verifier.VerifyCertificate(t.Context(), nil, nil, Expect{})
	demand(t, "none", err, bylaw.RuleEncoding)
}

// Nesting and false lengths must cost neither stack nor memory.
func TestHostileEncodings(t *testing.T) {
	for name, content := range map[string][]byte{
		"nested arrays":       append([]byte{0x81}, bytesOf(0x91, 9<<20)...),
		"nested in version":   append([]byte("\x83\xa7version"), bytesOf(0x91, 9<<20)...),
		"nested maps":         bytesOf(0x81, 9<<20),
		"array of 4 billion":  []byte("\x83\xa8platform\x82\xa4kind\xa3tdx\xa4data\x82\xa5quote\xdd\xff\xff\xff\xff"),
		"bytes of 4 billion":  []byte("\x83\xa5stack\x82\xa4kind\xa6dstack\xa4data\x83\xaeruntime_events\x91\x82\xa7payload\xc6\xff\xff\xff\xff"),
		"map of 4 billion":    []byte("\xdf\xff\xff\xff\xff"),
		"text of 4 billion":   []byte("\x83\xdb\xff\xff\xff\xff"),
		"data before kind":    []byte("\x83\xa8platform\x82\xa4data\xa3tdx"),
		"a field twice":       []byte("\x83\xa7version\x01\xa7version\x01"),
		"an unknown field":    []byte("\x83\xa7versiom\x01"),
		"a marked field":      []byte("\x83\xa8version?\x01"),
		"a field missing":     []byte("\x81\xa7version\x01"),
		"version 2":           []byte("\x81\xa7version\x02"),
		"SCALE, huge length":  {0, 0, 3, 255, 255, 255, 255, 255},
		"SCALE, not shortest": {0, 0, 1, 0, 1, 0},
		"SCALE, variant 5":    {0, 5},
		"SCALE, many events":  {0, 0, 0, 0xfe, 0xff, 0xff, 0xff},
	} {
		begun := time.Now()
		_, err := ParseEvidence(content)
		demand(t, name, err, bylaw.RuleEncoding)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func bytesOf(value byte, count int) []byte {
	return []byte(strings.Repeat(string([]byte{value}), count))
}

func TestPodsAreBoundToTheirPayload(t *testing.T) {
	payload := "pod"
	evidence := &Evidence{podPayload: &payload}
	evidence.ReportData = [64]byte{1}
	err := evidence.checkReportData(evidence.ReportData, evidence.ReportData)
	demand(t, "another payload", err, bylaw.RuleReportData)
}

func FuzzParseEvidence(f *testing.F) {
	file := vectors.Load[wireFile](f, "evidence.json")
	f.Add([]byte(file.AttestationV0))
	f.Add([]byte(file.AttestationV1))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, content []byte) {
		evidence, err := ParseEvidence(content)
		if err == nil {
			_ = evidence.checkEvents([48]byte{})
		} else if verdict := new(bylaw.VerifyError); !errors.As(err, &verdict) {
			t.Error(err)
		}
	})
}

func FuzzCertificate(f *testing.F) {
	file := vectors.Load[wireFile](f, "certificate.json")
	for _, c := range append(file.Good, file.wireCase) {
		f.Add([]byte(strings.Join(c.Chain, "")))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		chain, err := ParseChain(content)
		if err != nil {
			return
		}
		if _, err := evidenceOf(chain[0]); err != nil && fmt.Sprint(err) == "" {
			t.Error("an error without words")
		}
	})
}
