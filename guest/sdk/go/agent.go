package bylaw

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
)

// Algorithms of [Client.GetKey], [Client.Sign] and [Client.Verify].
const (
	Secp256k1          = "secp256k1"
	Secp256k1Prehashed = "secp256k1_prehashed" // only Sign and Verify
	Ed25519            = "ed25519"

	maxReportData = 64
	keyLength     = 32
)

// Key is a derived key and the signatures that lead from it to the root of the KMS.
type Key struct {
	// Secret has 32 bytes: a secp256k1 scalar or an Ed25519 seed.
	Secret Secret
	// SignatureChain holds the app key's signature and the root's. The second is empty for
	// an app without a KMS. Package kms verifies it.
	SignatureChain [][]byte
}

// GetKey derives the app's key at a path. The purpose goes into the signature, not into
// the key; neither does the algorithm, so use one path for one algorithm. An empty
// algorithm means [Secp256k1].
func (c *Client) GetKey(ctx context.Context, path, purpose, algorithm string) (*Key, error) {
	const method = "GetKey"
	content, err := c.call(ctx, method, map[string]string{
		"path": path, "purpose": purpose, "algorithm": algorithm,
	})
	if err != nil {
		return nil, err
	}
	read := readFields(method, content)
	secret := read.bytes("key")
	read.length("key", secret, keyLength)
	key := &Key{Secret: NewSecret(secret), SignatureChain: read.byteLists("signature_chain")}
	if read.err == nil && len(key.SignatureChain) != 2 {
		read.fail("field `signature_chain` has %d entries, not 2", len(key.SignatureChain))
	}
	if read.err != nil {
		return nil, read.err
	}
	return key, nil
}

// TLSKeyOptions says what a TLS certificate is for. The zero value asks for a server
// certificate without names and without evidence.
type TLSKeyOptions struct {
	// Subject is the common name.
	Subject string
	// AltNames are DNS names and IP addresses.
	AltNames []string
	// RATLS embeds evidence, so that peers can verify the app (package attest).
	RATLS bool
	// NoServerAuth leaves out the usage that TLS servers need.
	NoServerAuth bool
	// ClientAuth adds the usage that TLS clients need.
	ClientAuth bool
	// NotBefore is when validity begins; 1975-01-01 when zero.
	NotBefore time.Time
	// NotAfter is when it ends; in ten years when zero.
	NotAfter time.Time
	// AppInfo embeds facts about the app. Only evidence proves them.
	AppInfo bool
}

// TLSKey is a fresh key and its certificates.
type TLSKey struct {
	// Key is PKCS#8 PEM, P-256.
	Key Secret
	// CertificateChain holds PEM certificates, the leaf first.
	CertificateChain []string
}

// GetTLSKey makes a key and a certificate; each call another one.
func (c *Client) GetTLSKey(ctx context.Context, options TLSKeyOptions) (*TLSKey, error) {
	const method = "GetTlsKey"
	request := map[string]any{
		"subject":           options.Subject,
		"alt_names":         append([]string{}, options.AltNames...),
		"usage_ra_tls":      options.RATLS,
		"usage_server_auth": !options.NoServerAuth,
		"usage_client_auth": options.ClientAuth,
		"with_app_info":     options.AppInfo,
	}
	for name, at := range map[string]time.Time{"not_before": options.NotBefore, "not_after": options.NotAfter} {
		if at.IsZero() {
			continue
		}
		if at.Unix() < 0 {
			return nil, fmt.Errorf("%s: %s is before 1970", method, name)
		}
		request[name] = at.Unix()
	}
	content, err := c.call(ctx, method, request)
	if err != nil {
		return nil, err
	}
	read := readFields(method, content)
	key := &TLSKey{Key: NewSecret([]byte(read.text("key"))), CertificateChain: read.texts("certificate_chain")}
	if read.err == nil && len(key.CertificateChain) == 0 {
		read.fail("field `certificate_chain` is empty")
	}
	if read.err != nil {
		return nil, read.err
	}
	return key, nil
}

// Quote is evidence: a hardware quote and the log of what it measured.
type Quote struct {
	// Quote is a TDX quote; empty on other platforms.
	Quote []byte
	// EventLog is JSON text ([eventlog.Parse]).
	EventLog string
	// ReportData has 64 bytes.
	ReportData []byte
	// VMConfig is JSON text.
	VMConfig string
	// Attestation is the versioned form of the whole; empty where the agent leaves it out.
	Attestation []byte
}

// Replay computes the four runtime registers from the event log.
func (q *Quote) Replay() ([4]eventlog.Register, error) {
	events, err := eventlog.Parse([]byte(q.EventLog))
	if err != nil {
		return [4]eventlog.Register{}, err
	}
	return eventlog.ReplayRTMRs(events)
}

// GetQuote has the platform sign up to 64 bytes, which it fills up with zeros. Longer data
// is for the caller to hash.
func (c *Client) GetQuote(ctx context.Context, reportData []byte) (*Quote, error) {
	const method = "GetQuote"
	request, err := reportDataRequest(method, reportData)
	if err != nil {
		return nil, err
	}
	content, err := c.call(ctx, method, request)
	if err != nil {
		return nil, err
	}
	return ParseQuote(content)
}

// ParseQuote reads an answer of GetQuote that was kept as JSON.
func ParseQuote(content []byte) (*Quote, error) {
	read := readFields("GetQuote", content)
	quote := &Quote{
		Quote:       read.bytes("quote"),
		EventLog:    read.text("event_log"),
		ReportData:  read.bytes("report_data"),
		VMConfig:    read.text("vm_config"),
		Attestation: read.optionalBytes("attestation"),
	}
	if read.err != nil {
		return nil, read.err
	}
	return quote, nil
}

// Attest is like [Client.GetQuote] and returns versioned attestation bytes, which package
// attest reads.
func (c *Client) Attest(ctx context.Context, reportData []byte) ([]byte, error) {
	const method = "Attest"
	request, err := reportDataRequest(method, reportData)
	if err != nil {
		return nil, err
	}
	content, err := c.call(ctx, method, request)
	if err != nil {
		return nil, err
	}
	read := readFields(method, content)
	attestation := read.bytes("attestation")
	if read.err == nil && len(attestation) == 0 {
		read.fail("field `attestation` is empty")
	}
	if read.err != nil {
		return nil, read.err
	}
	return attestation, nil
}

func reportDataRequest(method string, reportData []byte) (map[string]string, error) {
	if len(reportData) > maxReportData {
		return nil, fmt.Errorf(
			"%s: report data has %d bytes, the limit is %d; hash it first", method, len(reportData), maxReportData,
		)
	}
	return map[string]string{"report_data": hex.EncodeToString(reportData)}, nil
}

// Signature is what [Client.Sign] returns.
type Signature struct {
	// Signature has 64 bytes.
	Signature []byte
	// SignatureChain repeats the signature and continues as [Key.SignatureChain] does.
	SignatureChain [][]byte
	// PublicKey has 32 bytes for Ed25519 and 33 for secp256k1.
	PublicKey []byte
}

// Sign signs with the app's signing key: Ed25519 over the data, secp256k1 over its
// SHA-256, or secp256k1_prehashed over the data as a 32-byte digest.
func (c *Client) Sign(ctx context.Context, algorithm string, data []byte) (*Signature, error) {
	const method = "Sign"
	content, err := c.call(ctx, method, map[string]string{
		"algorithm": algorithm, "data": hex.EncodeToString(data),
	})
	if err != nil {
		return nil, err
	}
	read := readFields(method, content)
	signature := &Signature{
		Signature:      read.bytes("signature"),
		SignatureChain: read.byteLists("signature_chain"),
		PublicKey:      read.bytes("public_key"),
	}
	if read.err == nil && len(signature.SignatureChain) != 3 {
		read.fail("field `signature_chain` has %d entries, not 3", len(signature.SignatureChain))
	}
	if read.err != nil {
		return nil, read.err
	}
	return signature, nil
}

// Verify asks the agent whether a signature is valid for a public key. Whose key it is,
// only package kms tells.
func (c *Client) Verify(ctx context.Context, algorithm string, data, signature, publicKey []byte) (bool, error) {
	const method = "Verify"
	content, err := c.call(ctx, method, map[string]string{
		"algorithm":  algorithm,
		"data":       hex.EncodeToString(data),
		"signature":  hex.EncodeToString(signature),
		"public_key": hex.EncodeToString(publicKey),
	})
	if err != nil {
		return false, err
	}
	read := readFields(method, content)
	valid := read.boolean("valid")
	return valid, read.err
}

// EmitEvent extends the runtime register with an event of the app's own. A colon in the
// name is refused by verifiers.
func (c *Client) EmitEvent(ctx context.Context, name string, payload []byte) error {
	_, err := c.call(ctx, "EmitEvent", map[string]string{
		"event": name, "payload": hex.EncodeToString(payload),
	})
	return err
}

// AgentVersion is the version of the guest agent.
type AgentVersion struct {
	Version  string
	Revision string
}

// Version asks for the agent's version.
func (c *Client) Version(ctx context.Context) (*AgentVersion, error) {
	const method = "Version"
	content, err := c.call(ctx, method, struct{}{})
	if err != nil {
		return nil, err
	}
	read := readFields(method, content)
	version := &AgentVersion{Version: read.text("version"), Revision: read.text("rev")}
	if read.err != nil {
		return nil, read.err
	}
	return version, nil
}

// GPUInfo is the raw output of NVIDIA's attestation at boot; empty without a GPU.
func (c *Client) GPUInfo(ctx context.Context) (string, error) {
	const method = "GpuInfo"
	content, err := c.call(ctx, method, struct{}{})
	if err != nil {
		return "", err
	}
	read := readFields(method, content)
	attestation := read.text("attestation")
	return attestation, read.err
}

// IsReachable tells whether the agent answers within half a second.
func (c *Client) IsReachable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reachableTimeout)
	defer cancel()
	_, err := c.call(ctx, "Info", struct{}{})
	return err == nil
}
