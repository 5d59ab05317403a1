package attest

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// IntelPCS is the vendor's own service.
	IntelPCS = "https://api.trustedservices.intel.com"

	intelHost    = "api.trustedservices.intel.com"
	intelRootCRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"

	maxCollateral      = 1 << 20
	collateralTimeout  = 10 * time.Second
	sgxPath            = "/sgx/certification/v4"
	tdxPath            = "/tdx/certification/v4"
	pckCRLChainHeader  = "SGX-PCK-CRL-Issuer-Chain"
	tcbChainHeader     = "TCB-Info-Issuer-Chain"
	sgxTCBChainHeader  = "SGX-TCB-Info-Issuer-Chain"
	qeChainHeader      = "SGX-Enclave-Identity-Issuer-Chain"
	maxCacheEntries    = 64
	signatureJSONField = "signature"
)

// Collateral is what the vendor states about a platform family: signed, dated, and
// believed only after [Verifier] has checked it.
type Collateral struct {
	PCKCRLIssuerChain     string
	RootCACRL             []byte
	PCKCRL                []byte
	TCBInfoIssuerChain    string
	TCBInfo               string
	TCBInfoSignature      []byte
	QEIdentityIssuerChain string
	QEIdentity            string
	QEIdentitySignature   []byte
}

// CollateralSource finds collateral. Nothing it returns is trusted, so it can only fail
// to help.
type CollateralSource interface {
	// Collateral is for the platform family fmspc (6 bytes); ca is "processor" or
	// "platform".
	Collateral(ctx context.Context, fmspc []byte, ca string) (*Collateral, error)
}

// Collateral makes fixed collateral a source: it answers with itself.
func (c *Collateral) Collateral(context.Context, []byte, string) (*Collateral, error) { return c, nil }

// ParseCollateral reads the JSON form that dcap-qvl calls QuoteCollateralV3: chains and
// statements as text, the rest in hex.
func ParseCollateral(content []byte) (*Collateral, error) {
	var form map[string]any
	if err := json.Unmarshal(content, &form); err != nil {
		return nil, fmt.Errorf("collateral is not a JSON object: %w", err)
	}
	collateral := &Collateral{}
	for name, into := range map[string]*string{
		"pck_crl_issuer_chain":     &collateral.PCKCRLIssuerChain,
		"tcb_info_issuer_chain":    &collateral.TCBInfoIssuerChain,
		"tcb_info":                 &collateral.TCBInfo,
		"qe_identity_issuer_chain": &collateral.QEIdentityIssuerChain,
		"qe_identity":              &collateral.QEIdentity,
	} {
		text, ok := form[name].(string)
		if !ok {
			return nil, fmt.Errorf("collateral: field `%s` is missing or not text", name)
		}
		*into = text
	}
	for name, into := range map[string]*[]byte{
		"root_ca_crl":           &collateral.RootCACRL,
		"pck_crl":               &collateral.PCKCRL,
		"tcb_info_signature":    &collateral.TCBInfoSignature,
		"qe_identity_signature": &collateral.QEIdentitySignature,
	} {
		text, ok := form[name].(string)
		if !ok {
			return nil, fmt.Errorf("collateral: field `%s` is missing or not text", name)
		}
		decoded, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("collateral: field `%s` is not hexadecimal", name)
		}
		*into = decoded
	}
	return collateral, nil
}

// PCCS asks a service that speaks Intel's PCS API, version 4.
type PCCS struct {
	base string
	http *http.Client
}

// NewPCCS is the service at a base URL; API paths at its end are removed.
func NewPCCS(base string) (*PCCS, error) {
	parsed, err := url.Parse(base)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return nil, fmt.Errorf("collateral service %q is not an http(s) URL", base)
	}
	base = strings.TrimRight(base, "/")
	base = strings.TrimSuffix(strings.TrimSuffix(base, sgxPath), tdxPath)
	return &PCCS{base: base, http: &http.Client{Timeout: collateralTimeout}}, nil
}

// Collateral asks the service.
func (p *PCCS) Collateral(ctx context.Context, fmspc []byte, ca string) (*Collateral, error) {
	collateral := &Collateral{}
	headers, body, err := p.get(ctx, p.base+sgxPath+"/pckcrl?encoding=der&ca="+url.QueryEscape(ca))
	if err != nil {
		return nil, err
	}
	collateral.PCKCRL = derOrHex(body)
	if collateral.PCKCRLIssuerChain, err = issuerChain(headers, pckCRLChainHeader); err != nil {
		return nil, err
	}
	// Intel serves this one elsewhere.
	rootCRL := p.base + sgxPath + "/rootcacrl"
	if parsed, err := url.Parse(p.base); err == nil && parsed.Hostname() == intelHost {
		rootCRL = intelRootCRL
	}
	if _, body, err = p.get(ctx, rootCRL); err != nil {
		return nil, err
	}
	collateral.RootCACRL = derOrHex(body)

	headers, body, err = p.get(ctx, p.base+tdxPath+"/tcb?fmspc="+hex.EncodeToString(fmspc))
	if err != nil {
		return nil, err
	}
	if collateral.TCBInfo, collateral.TCBInfoSignature, err = signedMember(body, "tcbInfo"); err != nil {
		return nil, err
	}
	if collateral.TCBInfoIssuerChain, err = issuerChain(headers, tcbChainHeader, sgxTCBChainHeader); err != nil {
		return nil, err
	}
	headers, body, err = p.get(ctx, p.base+tdxPath+"/qe/identity?update=standard")
	if err != nil {
		return nil, err
	}
	if collateral.QEIdentity, collateral.QEIdentitySignature, err = signedMember(body, "enclaveIdentity"); err != nil {
		return nil, err
	}
	collateral.QEIdentityIssuerChain, err = issuerChain(headers, qeChainHeader)
	return collateral, err
}

func (p *PCCS) get(ctx context.Context, target string) (http.Header, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	answer, err := p.http.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s: status %s", target, answer.Status)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxCollateral+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", target, err)
	}
	if len(body) > maxCollateral {
		return nil, nil, fmt.Errorf("%s: the answer exceeds %d bytes", target, maxCollateral)
	}
	return answer.Header, body, nil
}

// derOrHex decodes CRLs that some services send as hex text.
func derOrHex(body []byte) []byte {
	if decoded, err := hex.DecodeString(string(bytes.TrimSpace(body))); err == nil {
		return decoded
	}
	return body
}

func issuerChain(headers http.Header, names ...string) (string, error) {
	for _, name := range names {
		if value := headers.Get(name); value != "" {
			chain, err := url.PathUnescape(value)
			if err != nil {
				return "", fmt.Errorf("header %s is not URL-encoded", name)
			}
			return chain, nil
		}
	}
	return "", fmt.Errorf("header %s is missing", strings.Join(names, " or "))
}

// signedMember is the exact text of a member, which the vendor signed, and the signature.
func signedMember(body []byte, member string) (string, []byte, error) {
	var form map[string]json.RawMessage
	if err := json.Unmarshal(body, &form); err != nil {
		return "", nil, fmt.Errorf("the answer with `%s` is not a JSON object", member)
	}
	var text string
	if err := json.Unmarshal(form[signatureJSONField], &text); err != nil {
		return "", nil, fmt.Errorf("the answer with `%s` has no `signature`", member)
	}
	signature, err := hex.DecodeString(text)
	if err != nil {
		return "", nil, fmt.Errorf("the `signature` of `%s` is not hexadecimal", member)
	}
	if len(form[member]) == 0 {
		return "", nil, fmt.Errorf("the answer has no `%s`", member)
	}
	return string(form[member]), signature, nil
}

// Cache remembers a source's answers for a while.
type Cache struct {
	source CollateralSource
	keep   time.Duration

	mutex   sync.Mutex
	entries map[string]cacheEntry
}

type cacheEntry struct {
	collateral *Collateral
	until      time.Time
}

// NewCache remembers answers of a source. A short time suffices to spare the service, and
// a revocation is noticed no later than it ends.
func NewCache(source CollateralSource, keep time.Duration) *Cache {
	return &Cache{source: source, keep: keep, entries: map[string]cacheEntry{}}
}

// Collateral is the remembered answer, or a new one.
func (c *Cache) Collateral(ctx context.Context, fmspc []byte, ca string) (*Collateral, error) {
	key := hex.EncodeToString(fmspc) + "/" + ca
	c.mutex.Lock()
	entry, ok := c.entries[key]
	c.mutex.Unlock()
	if ok && time.Now().Before(entry.until) {
		return entry.collateral, nil
	}
	collateral, err := c.source.Collateral(ctx, fmspc, ca)
	if err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if len(c.entries) >= maxCacheEntries {
		clear(c.entries)
	}
	c.entries[key] = cacheEntry{collateral: collateral, until: time.Now().Add(c.keep)}
	return collateral, nil
}
