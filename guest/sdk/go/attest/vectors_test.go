package attest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

// wireExpect is what vectors write for Expect.
type wireExpect struct {
	ReportData    vectors.Hex              `json:"report_data"`
	TCBStatuses   []string                 `json:"tcb_statuses"`
	AppID         vectors.Hex              `json:"app_id"`
	ComposeHash   vectors.Hex              `json:"compose_hash"`
	DeviceIDs     []vectors.Hex            `json:"device_ids"`
	Measurements  []map[string]vectors.Hex `json:"measurements"`
	KeyProviderID vectors.Hex              `json:"key_provider_id"`
}

func (w *wireExpect) expect() Expect {
	expect := Expect{
		ReportData:    w.ReportData,
		TCBStatuses:   w.TCBStatuses,
		AppID:         w.AppID,
		ComposeHash:   w.ComposeHash,
		KeyProviderID: w.KeyProviderID,
	}
	if w.DeviceIDs != nil {
		expect.DeviceIDs = vectors.Lists(w.DeviceIDs)
	}
	for _, m := range w.Measurements {
		expect.Measurements = append(expect.Measurements,
			Measurement{MRTD: m["mrtd"], RTMR0: m["rtmr0"], RTMR1: m["rtmr1"], RTMR2: m["rtmr2"]})
	}
	return expect
}

type wireAnswer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    vectors.Hex       `json:"body"`
}

type wireAppraisal struct {
	MRTD         string   `json:"mrtd"`
	RTMR0        string   `json:"rtmr0"`
	RTMR1        string   `json:"rtmr1"`
	RTMR2        string   `json:"rtmr2"`
	RTMR3        string   `json:"rtmr3"`
	ReportData   string   `json:"report_data"`
	TCBStatus    string   `json:"tcb_status"`
	AdvisoryIDs  []string `json:"advisory_ids"`
	AppID        string   `json:"app_id"`
	ComposeHash  string   `json:"compose_hash"`
	InstanceID   string   `json:"instance_id"`
	DeviceID     string   `json:"device_id"`
	MRSystem     string   `json:"mr_system"`
	MRAggregated string   `json:"mr_aggregated"`
	KeyProvider  KeyProvider
	Events       []struct {
		Event   string      `json:"event"`
		Payload vectors.Hex `json:"payload"`
		Version uint32      `json:"version"`
	} `json:"events"`
	KeyProviderForm KeyProvider `json:"key_provider"`
}

// wireCase is one case, or the file's defaults.
type wireCase struct {
	Name       string                `json:"name"`
	Base       string                `json:"base"`
	Bytes      vectors.Hex           `json:"bytes"`
	JSON       json.RawMessage       `json:"json"`
	Chain      []string              `json:"chain"`
	Expect     *wireExpect           `json:"expect"`
	Time       *int64                `json:"time"`
	RootCA     json.RawMessage       `json:"root_ca"`
	Collateral json.RawMessage       `json:"collateral"`
	PCCS       map[string]wireAnswer `json:"pccs"`
	KMSCASPKI  json.RawMessage       `json:"kms_ca_spki"`
	Code       bylaw.Rule            `json:"code"`
	Or         []bylaw.Rule          `json:"or"`
}

type wireFile struct {
	wireCase
	AttestationV0 vectors.Hex     `json:"attestation_v0"`
	AttestationV1 vectors.Hex     `json:"attestation_v1"`
	GetQuote      json.RawMessage `json:"get_quote"`
	Appraisal     wireAppraisal   `json:"appraisal"`
	Good          []wireCase      `json:"good"`
	Bad           []wireCase      `json:"bad"`
}

// with puts what a case names in the place of the file's own.
func (f *wireFile) with(c wireCase) wireCase {
	if c.Expect == nil {
		c.Expect = f.Expect
	}
	if c.Time == nil {
		c.Time = f.Time
	}
	if c.RootCA == nil {
		c.RootCA = f.RootCA
	}
	if c.PCCS == nil {
		c.PCCS, c.Collateral = f.PCCS, f.Collateral
	}
	if c.KMSCASPKI == nil {
		c.KMSCASPKI = f.KMSCASPKI
	}
	if c.Chain == nil && c.Code == "" {
		c.Chain = f.Chain
	}
	return c
}

var null = []byte("null")

// pccsServer replays the answers of a collateral service.
func pccsServer(t *testing.T, answers map[string]wireAnswer) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		for name, value := range answer.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(answer.Status)
		_, _ = w.Write(answer.Body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// verifiers makes a verifier for each source of the case's collateral.
func (c *wireCase) verifiers(t *testing.T) map[string]*Verifier {
	t.Helper()
	options := Options{Now: func() time.Time { return time.Unix(*c.Time, 0) }}
	if !bytes.Equal(c.RootCA, null) {
		var text string
		if err := json.Unmarshal(c.RootCA, &text); err != nil {
			t.Fatal(err)
		}
		root, err := ParseRoot([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		options.Root = root
	}
	source, err := NewPCCS(pccsServer(t, c.PCCS) + sgxPath + "/")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]CollateralSource{"service": source}
	if !bytes.Equal(c.Collateral, null) {
		fixed, err := ParseCollateral(c.Collateral)
		if err != nil {
			t.Fatal(err)
		}
		sources["fixed"] = fixed
	}
	verifiers := map[string]*Verifier{}
	for name, source := range sources {
		options.Collateral = source
		verifier, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		verifiers[name] = verifier
	}
	return verifiers
}

func (c *wireCase) evidence() (*Evidence, error) {
	if c.JSON != nil {
		return EvidenceFromJSON(c.JSON)
	}
	return ParseEvidence(c.Bytes)
}

// refused demands one of the case's codes.
func (c *wireCase) refused(t *testing.T, err error) {
	t.Helper()
	var verdict *bylaw.VerifyError
	switch {
	case err == nil:
		t.Fatal("accepted")
	case !errors.As(err, &verdict):
		t.Fatalf("not a VerifyError: %v", err)
	case !slices.Contains(append(c.Or, c.Code), verdict.Code):
		t.Fatalf("refused with %s, not %s %v: %v", verdict.Code, c.Code, c.Or, err)
	}
}

func (w *wireAppraisal) compare(t *testing.T, got *Appraisal) {
	t.Helper()
	for _, pair := range []struct{ name, want, got string }{
		{"mrtd", w.MRTD, got.MRTD.String()},
		{"rtmr0", w.RTMR0, got.RTMR[0].String()},
		{"rtmr1", w.RTMR1, got.RTMR[1].String()},
		{"rtmr2", w.RTMR2, got.RTMR[2].String()},
		{"rtmr3", w.RTMR3, got.RTMR[3].String()},
		{"report_data", w.ReportData, hex.EncodeToString(got.ReportData[:])},
		{"tcb_status", w.TCBStatus, got.TCBStatus},
		{"app_id", w.AppID, hex.EncodeToString(got.AppID)},
		{"compose_hash", w.ComposeHash, hex.EncodeToString(got.ComposeHash)},
		{"instance_id", w.InstanceID, hex.EncodeToString(got.InstanceID)},
		{"device_id", w.DeviceID, hex.EncodeToString(got.DeviceID[:])},
		{"mr_system", w.MRSystem, hex.EncodeToString(got.MRSystem[:])},
		{"mr_aggregated", w.MRAggregated, hex.EncodeToString(got.MRAggregated[:])},
	} {
		if pair.want == "" || pair.got != pair.want {
			t.Errorf("%s is %s, not %s", pair.name, pair.got, pair.want)
		}
	}
	if !slices.Equal(got.AdvisoryIDs, w.AdvisoryIDs) {
		t.Errorf("advisories %v, not %v", got.AdvisoryIDs, w.AdvisoryIDs)
	}
	if got.KeyProvider == nil || *got.KeyProvider != w.KeyProviderForm {
		t.Errorf("key provider %v, not %v", got.KeyProvider, w.KeyProviderForm)
	}
	if got.Debug || len(got.Events) != len(w.Events) {
		t.Fatalf("debug %v, %d events, not %d", got.Debug, len(got.Events), len(w.Events))
	}
	for i, event := range w.Events {
		if got.Events[i].Name != event.Event || !bytes.Equal(got.Events[i].Payload, event.Payload) ||
			got.Events[i].Version != event.Version {
			t.Errorf("event %d is %v, not %v", i, got.Events[i], event)
		}
	}
}

func TestEvidenceVectors(t *testing.T) {
	file := vectors.Load[wireFile](t, "evidence.json")
	own := file.with(wireCase{})
	for form, parse := range map[string]func() (*Evidence, error){
		"attestation_v0": func() (*Evidence, error) { return ParseEvidence(file.AttestationV0) },
		"attestation_v1": func() (*Evidence, error) { return ParseEvidence(file.AttestationV1) },
		"get_quote":      func() (*Evidence, error) { return EvidenceFromJSON(file.GetQuote) },
	} {
		for source, verifier := range own.verifiers(t) {
			t.Run(form+", "+source, func(t *testing.T) {
				evidence, err := parse()
				if err != nil {
					t.Fatal(err)
				}
				appraisal, err := verifier.VerifyEvidence(context.Background(), evidence, own.Expect.expect())
				if err != nil {
					t.Fatal(err)
				}
				file.Appraisal.compare(t, appraisal)
			})
		}
	}
	if len(file.Good) == 0 || len(file.Bad) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range slices.Concat(file.Good, file.Bad) {
		c := file.with(c)
		for source, verifier := range c.verifiers(t) {
			t.Run(c.Name+", "+source, func(t *testing.T) {
				evidence, err := c.evidence()
				if err == nil {
					_, err = verifier.VerifyEvidence(context.Background(), evidence, c.Expect.expect())
				}
				if c.Code != "" {
					c.refused(t, err)
				} else if err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func (c *wireCase) root(t *testing.T) *kms.Root {
	t.Helper()
	if bytes.Equal(c.KMSCASPKI, null) {
		return nil
	}
	var spki vectors.Hex
	if err := json.Unmarshal(c.KMSCASPKI, &spki); err != nil {
		t.Fatal(err)
	}
	return &kms.Root{CASPKI: spki}
}

func parseTexts(texts []string) ([]*x509.Certificate, error) {
	var joined []byte
	for _, text := range texts {
		joined = append(joined, text...)
	}
	return ParseChain(joined)
}

func TestCertificateVectors(t *testing.T) {
	file := vectors.Load[wireFile](t, "certificate.json")
	if len(file.Good) == 0 || len(file.Bad) == 0 {
		t.Fatal("no cases")
	}
	own := file.wireCase
	own.Name = "the file's own"
	for _, c := range slices.Concat([]wireCase{own}, file.Good, file.Bad) {
		c := file.with(c)
		for source, verifier := range c.verifiers(t) {
			t.Run(c.Name+", "+source, func(t *testing.T) {
				var facts *CertificateAppraisal
				chain, err := parseTexts(c.Chain)
				if err == nil {
					facts, err = verifier.VerifyCertificate(
						context.Background(), chain, c.root(t), c.Expect.expect())
				}
				switch {
				case c.Code != "":
					c.refused(t, err)
				case err != nil:
					t.Fatal(err)
				case c.Name == own.Name:
					file.Appraisal.compare(t, &facts.Appraisal)
					if facts.Subject != "app.example" || !slices.Equal(facts.DNSNames, []string{"app.example"}) ||
						!slices.Equal(facts.IPAddresses, []string{"127.0.0.1"}) || !facts.IssuedByKMS {
						t.Errorf("facts are %+v", facts)
					}
				}
			})
		}
	}
}
