package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/verify"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

const (
	// inTime is within the validity of the sample collateral.
	inTime = 1_750_414_563
	// today is when every PCK certificate among the samples is valid.
	today = 1_780_000_000
)

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func quoteFile(t testing.TB, name string) []byte {
	t.Helper()
	return vectors.Read(t, "attest", "tdx", name)
}

func vendorRoot(t testing.TB) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile("../../attest/intel-sgx-root-ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, content)
}

func certificate(t testing.TB, content []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(content)
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func collateralFile(t testing.TB, name string) *Collateral {
	t.Helper()
	var form map[string]string
	if err := json.Unmarshal(vectors.Read(t, "attest", "tdx", name), &form); err != nil {
		t.Fatal(err)
	}
	return collateralOf(t, form)
}

func collateralOf(t testing.TB, form map[string]string) *Collateral {
	t.Helper()
	binary := func(field string) []byte {
		decoded, err := hex.DecodeString(form[field])
		if err != nil {
			t.Fatal(err)
		}
		return decoded
	}
	return &Collateral{
		PCKCRLIssuerChain:     form["pck_crl_issuer_chain"],
		RootCACRL:             binary("root_ca_crl"),
		PCKCRL:                binary("pck_crl"),
		TCBInfoIssuerChain:    form["tcb_info_issuer_chain"],
		TCBInfo:               form["tcb_info"],
		TCBInfoSignature:      binary("tcb_info_signature"),
		QEIdentityIssuerChain: form["qe_identity_issuer_chain"],
		QEIdentity:            form["qe_identity"],
		QEIdentitySignature:   binary("qe_identity_signature"),
	}
}

func check(raw []byte, root *x509.Certificate, collateral *Collateral, now time.Time) (*Result, error) {
	quote, err := Authenticate(raw, root, now)
	if err != nil {
		return nil, err
	}
	return quote.Appraise(collateral)
}

// demand wants a fault of one of these kinds.
func demand(t *testing.T, err error, kinds ...Kind) {
	t.Helper()
	var fault *Fault
	if !errors.As(err, &fault) {
		t.Errorf("not a Fault: %v", err)
		return
	}
	for _, kind := range kinds {
		if fault.Kind == kind {
			return
		}
	}
	t.Errorf("fault %d, not %v: %v", fault.Kind, kinds, err)
}

func TestARealQuoteIsUpToDate(t *testing.T) {
	for _, now := range []int64{inTime, 1_752_916_563} {
		result, err := check(quoteFile(t, "dcapqvl-v4/quote.bin"), vendorRoot(t),
			collateralFile(t, "dcapqvl-v4/collateral.json"), at(now))
		if err != nil {
			t.Fatal(err)
		}
		if result.TCBStatus != "UpToDate" || len(result.AdvisoryIDs) != 0 || len(result.PPID) != 16 {
			t.Errorf("result %+v", result)
		}
		if !strings.HasPrefix(hex.EncodeToString(result.Report.MRTD[:]), "91eb2b44d141d4ec") {
			t.Errorf("MRTD %x", result.Report.MRTD)
		}
	}
}

func TestCollateralCountsInItsTimeOnly(t *testing.T) {
	collateral := collateralFile(t, "dcapqvl-v4/collateral.json")
	for _, now := range []int64{1_753_006_563, today, 1_740_000_000} {
		_, err := check(quoteFile(t, "dcapqvl-v4/quote.bin"), vendorRoot(t), collateral, at(now))
		demand(t, err, FaultCollateral)
	}
}

func TestAPlatformBelowEveryLevelIsRefused(t *testing.T) {
	collateral := collateralFile(t, "dcapqvl-outdated/collateral.json")
	_, err := check(quoteFile(t, "dcapqvl-outdated/quote.bin"), vendorRoot(t), collateral, lastMoment(t, collateral))
	demand(t, err, FaultCollateral)
	if !strings.Contains(err.Error(), "none of the levels") {
		t.Error(err)
	}
}

// lastMoment is shortly before the first part of the collateral expires.
func lastMoment(t *testing.T, collateral *Collateral) time.Time {
	t.Helper()
	var first time.Time
	consider := func(next time.Time) {
		if first.IsZero() || next.Before(first) {
			first = next
		}
	}
	for _, text := range []string{collateral.TCBInfo, collateral.QEIdentity} {
		var dated struct {
			NextUpdate time.Time `json:"nextUpdate"`
		}
		if err := json.Unmarshal([]byte(text), &dated); err != nil {
			t.Fatal(err)
		}
		consider(dated.NextUpdate)
	}
	for _, der := range [][]byte{collateral.RootCACRL, collateral.PCKCRL} {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		consider(crl.NextUpdate)
	}
	return first.Add(-time.Minute)
}

func TestVersion5(t *testing.T) {
	if _, err := Authenticate(quoteFile(t, "gotdx-v5/quote.bin"), vendorRoot(t), at(today)); err != nil {
		t.Error(err)
	}
	collateral := collateralFile(t, "dcapqvl-td15ex/collateral.json")
	result, err := check(quoteFile(t, "dcapqvl-td15ex/quote.bin"), vendorRoot(t), collateral, lastMoment(t, collateral))
	if err != nil {
		t.Fatal(err)
	}
	if result.TCBStatus == "" || result.Report.TD15 == nil {
		t.Errorf("result %+v", result)
	}
}

func TestGenuineQuotesAreGenuine(t *testing.T) {
	for _, name := range []string{
		"trustee-v4/quote.bin", "gotdx-v5/quote.bin", "gotdx-cos-ccel/quote.bin", "dcapqvl-v4/quote.bin",
	} {
		if _, err := Authenticate(quoteFile(t, name), vendorRoot(t), at(today)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnwelcomeTDsAreRefused(t *testing.T) {
	_, err := Authenticate(quoteFile(t, "trustee-v5/quote.bin"), vendorRoot(t), at(today))
	demand(t, err, FaultQuote)
	if err == nil || !strings.Contains(err.Error(), "service TD") {
		t.Error(err)
	}
	_, err = Authenticate(quoteFile(t, "trustee-v4-debug/quote.bin"), vendorRoot(t), at(today))
	demand(t, err, FaultDebug)
	// Genuine, from clouds that let the host inject exceptions.
	for _, name := range []string{"gotdx-v4/quote.bin", "azure-td-quote.bin"} {
		_, err = Authenticate(quoteFile(t, name), vendorRoot(t), at(today))
		demand(t, err, FaultQuote)
		if err == nil || !strings.Contains(err.Error(), "SEPT_VE_DISABLE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	good := func() *Report {
		report := &Report{}
		report.TDAttributes[3] = 0x10
		return report
	}
	if err := checkReport(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Report){
		"debug":          func(r *Report) { r.TDAttributes[0] |= 1 },
		"profiled":       func(r *Report) { r.TDAttributes[0] |= 0x20 },
		"reserved, low":  func(r *Report) { r.TDAttributes[0] |= 2 },
		"reserved, 15":   func(r *Report) { r.TDAttributes[1] |= 0x80 },
		"reserved, 24":   func(r *Report) { r.TDAttributes[3] |= 1 },
		"reserved, 32":   func(r *Report) { r.TDAttributes[4] |= 1 },
		"reserved, 61":   func(r *Report) { r.TDAttributes[7] |= 0x20 },
		"migratable":     func(r *Report) { r.TDAttributes[3] |= 0x20 },
		"service TDs":    func(r *Report) { r.TDAttributes[2] |= 2 },
		"exceptions":     func(r *Report) { r.TDAttributes[3] = 0 },
		"another's SEAM": func(r *Report) { r.MRSignerSEAM[47] = 1 },
		"a service TD":   func(r *Report) { r.TD15 = &TD15{MRServiceTD: [48]byte{47: 1}} },
	} {
		report := good()
		change(report)
		if err := checkReport(report); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(*Report){
		"PERFMON and TPA": func(r *Report) { r.TDAttributes[7] |= 0xc0 },
		"no service TD":   func(r *Report) { r.TD15 = &TD15{} },
		"PKS":             func(r *Report) { r.TDAttributes[3] |= 0x40 },
	} {
		report := good()
		change(report)
		if err := checkReport(report); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBrokenQuotesAreRefused(t *testing.T) {
	for _, name := range []string{
		"sig-bitflip", "report-data-bitflip", "mrtd-bitflip", "qe-report-bitflip", "ak-swapped",
		"debug-set", "truncated", "version-6", "siglen-huge", "empty",
	} {
		_, err := Authenticate(quoteFile(t, "broken/"+name+".bin"), vendorRoot(t), at(inTime))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		demand(t, err, FaultQuote, FaultDebug)
	}
	_, err := Authenticate(make([]byte, MaxQuote+1), vendorRoot(t), at(inTime))
	demand(t, err, FaultQuote)
}

func TestTamperedCollateralIsRefused(t *testing.T) {
	quote := quoteFile(t, "dcapqvl-v4/quote.bin")
	sample := func() *Collateral { return collateralFile(t, "dcapqvl-v4/collateral.json") }
	cases := map[string]*Collateral{
		"nextUpdate edited": collateralFile(t, "broken/collateral-nextupdate-edited.json"),
		"signature zeroed":  collateralFile(t, "broken/collateral-tcb-sig-zero.json"),
		"no CRL":            collateralFile(t, "broken/collateral-no-crl.json"),
	}
	for name, change := range map[string]func(*Collateral){
		"QE identity edited":      func(c *Collateral) { c.QEIdentity = strings.Replace(c.QEIdentity, "TD_QE", "QE", 1) },
		"QE signature cut":        func(c *Collateral) { c.QEIdentitySignature = c.QEIdentitySignature[:63] },
		"statements swapped":      func(c *Collateral) { c.TCBInfo, c.TCBInfoSignature = c.QEIdentity, c.QEIdentitySignature },
		"statements swapped back": func(c *Collateral) { c.QEIdentity, c.QEIdentitySignature = c.TCBInfo, c.TCBInfoSignature },
		"CRLs swapped":            func(c *Collateral) { c.RootCACRL, c.PCKCRL = c.PCKCRL, c.RootCACRL },
		"root's CRL twice":        func(c *Collateral) { c.PCKCRL = c.RootCACRL },
		"no root CRL":             func(c *Collateral) { c.RootCACRL = nil },
		"root CRL edited":         func(c *Collateral) { c.RootCACRL = flipped(c.RootCACRL, len(c.RootCACRL)-2) },
		"PCK CRL edited":          func(c *Collateral) { c.PCKCRL = flipped(c.PCKCRL, len(c.PCKCRL)-2) },
		"no signer":               func(c *Collateral) { c.TCBInfoIssuerChain = "" },
		"signer is the PCK CA":    func(c *Collateral) { c.TCBInfoIssuerChain = c.PCKCRLIssuerChain },
		"signer is no PEM":        func(c *Collateral) { c.QEIdentityIssuerChain = "x" },
		"signers too many":        func(c *Collateral) { c.QEIdentityIssuerChain = strings.Repeat(c.QEIdentityIssuerChain, 3) },
	} {
		collateral := sample()
		change(collateral)
		cases[name] = collateral
	}
	for name, collateral := range cases {
		_, err := check(quote, vendorRoot(t), collateral, at(inTime))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		demand(t, err, FaultCollateral)
	}
	_, err := check(quoteFile(t, "trustee-v4/quote.bin"), vendorRoot(t), sample(), at(inTime))
	demand(t, err, FaultCollateral, FaultQuote)
}

func TestAnotherRootIsRefused(t *testing.T) {
	another := certificate(t, vectors.Read(t, "attest", "AWS_NitroEnclaves_Root-G1.pem"))
	_, err := Authenticate(quoteFile(t, "dcapqvl-v4/quote.bin"), another, at(inTime))
	demand(t, err, FaultQuote)
}

func flipped(content []byte, index int) []byte {
	changed := bytes.Clone(content)
	changed[index] ^= 1
	return changed
}

// served answers go-tdx-guest with the vendor's statements.
type served struct{ collateral *Collateral }

func (s served) Get(target string) (map[string][]string, []byte, error) {
	chain := func(name, value string) map[string][]string {
		return map[string][]string{name: {url.QueryEscape(value)}}
	}
	signed := func(member, text string, signature []byte) []byte {
		return []byte(`{"` + member + `":` + text + `,"signature":"` + hex.EncodeToString(signature) + `"}`)
	}
	c := s.collateral
	switch {
	case strings.Contains(target, "pckcrl"):
		return chain("Sgx-Pck-Crl-Issuer-Chain", c.PCKCRLIssuerChain), c.PCKCRL, nil
	case strings.Contains(target, "/tcb"):
		return chain("Tcb-Info-Issuer-Chain", c.TCBInfoIssuerChain), signed("tcbInfo", c.TCBInfo, c.TCBInfoSignature), nil
	case strings.Contains(target, "qe/identity"):
		return chain("Sgx-Enclave-Identity-Issuer-Chain", c.QEIdentityIssuerChain),
			signed("enclaveIdentity", c.QEIdentity, c.QEIdentitySignature), nil
	default:
		return nil, c.RootCACRL, nil
	}
}

// Google's library shares no verification code with this package. Both must agree about
// every quote that it can read, whole and with each byte of its used part changed.
func TestGoTDXGuestAgrees(t *testing.T) {
	// The simulator's, because the library compares FMSPCs as text and the vendor's text of
	// the older samples is upper case.
	file := vectors.Load[struct {
		Time       int64             `json:"time"`
		RootCA     string            `json:"root_ca"`
		Collateral map[string]string `json:"collateral"`
		GetQuote   struct {
			Quote vectors.Hex `json:"quote"`
		} `json:"get_quote"`
	}](t, "evidence.json")
	root, raw, now := certificate(t, []byte(file.RootCA)), file.GetQuote.Quote, at(file.Time)
	collateral := collateralOf(t, file.Collateral)
	theirs := func(quote []byte) error {
		roots := x509.NewCertPool()
		roots.AddCert(root)
		return verify.RawTdxQuote(quote, &verify.Options{
			CheckRevocations: true, GetCollateral: true, Getter: served{collateral}, Now: now, TrustedRoots: roots,
		})
	}
	ours := func(quote []byte) error {
		_, err := check(quote, root, collateral, now)
		return err
	}
	if theirs, ours := theirs(raw), ours(raw); theirs != nil || ours != nil {
		t.Fatalf("they say %v, we say %v", theirs, ours)
	}
	// The last certificate is the quote's own copy of the root, which they check and we do
	// not read: what counts is the root that is trusted.
	copied := bytes.LastIndex(raw, []byte("-----BEGIN CERTIFICATE-----"))
	if copied < 0 {
		t.Fatal("no certificates")
	}
	const step = 13
	for index := 0; index < len(raw); index += step {
		changed := flipped(raw, index)
		theirs, ours := theirs(changed), ours(changed)
		switch {
		case theirs == nil && ours != nil:
			t.Errorf("byte %d changed: they accept it, we say %v", index, ours)
		case ours == nil && index < copied:
			t.Errorf("byte %d changed: we accept it, they say %v", index, theirs)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"dcapqvl-v4/quote.bin", "dcapqvl-td15ex/quote.bin", "broken/truncated.bin"} {
		f.Add(quoteFile(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		quote, err := Parse(raw)
		if err != nil {
			return
		}
		if len(quote.signed) == 0 || len(quote.attestationKey) != keyLength {
			t.Error("a quote without its parts")
		}
		if chain, err := parseChain(quote.pckChain); err == nil && len(chain) == 0 {
			t.Error("no certificates and no error")
		}
	})
}
