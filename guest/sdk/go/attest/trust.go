// Package attest verifies evidence of confidential VMs: that genuine hardware measured a
// program, which program that is, and that a TLS key belongs to it.
//
// Evidence of Intel TDX is verified; other platforms are refused. The image of the
// operating system is verified only through [Expect.Measurements]: without them the
// appraisal states registers, not which image they belong to.
package attest

import (
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
	"sync"
	"time"
)

//go:embed intel-sgx-root-ca.pem
var intelRootPEM []byte

var intelRoot = sync.OnceValues(func() (*x509.Certificate, error) { return ParseRoot(intelRootPEM) })

// Options says whom a [Verifier] trusts. The zero value trusts Intel and asks Intel.
type Options struct {
	// Root is the certificate that platforms must lead to; Intel's when nil. Another one
	// means simulated hardware that proves nothing: for development only.
	Root *x509.Certificate
	// Collateral is where the vendor's statements come from; Intel's service when nil,
	// asked at most once an hour for the same platform.
	Collateral CollateralSource
	// Now is the clock; the system's when nil.
	Now func() time.Time
}

// Verifier verifies evidence and certificates. It is safe for concurrent use.
type Verifier struct {
	root       *x509.Certificate
	collateral CollateralSource
	now        func() time.Time
}

// New makes a verifier.
func New(options Options) (*Verifier, error) {
	verifier := &Verifier{root: options.Root, collateral: options.Collateral, now: options.Now}
	if verifier.root == nil {
		root, err := intelRoot()
		if err != nil {
			return nil, fmt.Errorf("the root certificate of Intel: %w", err)
		}
		verifier.root = root
	}
	if verifier.collateral == nil {
		source, err := NewPCCS(IntelPCS)
		if err != nil {
			return nil, err
		}
		verifier.collateral = NewCache(source, time.Hour)
	}
	if verifier.now == nil {
		verifier.now = time.Now
	}
	return verifier, nil
}

// ParseRoot reads one root certificate, PEM or DER.
func ParseRoot(content []byte) (*x509.Certificate, error) {
	if block, _ := pem.Decode(content); block != nil {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("the root certificate's file holds a %s", block.Type)
		}
		content = block.Bytes
	}
	root, err := x509.ParseCertificate(content)
	if err != nil {
		return nil, fmt.Errorf("the root certificate: %w", err)
	}
	if !root.IsCA {
		return nil, fmt.Errorf("the root certificate %s is no CA's", root.Subject)
	}
	return root, nil
}
