package attest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

// peerTimeout bounds what a handshake waits for collateral.
const peerTimeout = 30 * time.Second

// VerifyPeerCertificate is a callback for [tls.Config.VerifyPeerCertificate] that accepts
// peers by [Verifier.VerifyCertificate]. The configuration needs InsecureSkipVerify, since
// no public authority issues such certificates, and it must not resume sessions, since
// resumption skips the callback; [Verifier.ClientTLS] sets all that.
func (v *Verifier) VerifyPeerCertificate(root *kms.Root, expect Expect) func([][]byte, [][]*x509.Certificate) error {
	return func(raw [][]byte, _ [][]*x509.Certificate) error {
		chain, err := ParseDERChain(raw)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), peerTimeout)
		defer cancel()
		_, err = v.VerifyCertificate(ctx, chain, root, expect)
		return err
	}
}

// ClientTLS is the configuration of a client that talks to one app and nobody else. The
// name in the URL proves nothing here and is not compared: the app is what is expected.
func (v *Verifier) ClientTLS(root *kms.Root, expect Expect) *tls.Config {
	verify := v.VerifyPeerCertificate(root, expect)
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The callback below decides instead.
		InsecureSkipVerify: true, //nolint:gosec
		// Unlike VerifyPeerCertificate, this runs for resumed sessions as well.
		VerifyConnection: func(state tls.ConnectionState) error {
			raw := make([][]byte, 0, len(state.PeerCertificates))
			for _, certificate := range state.PeerCertificates {
				raw = append(raw, certificate.Raw)
			}
			return verify(raw, nil)
		},
	}
}

// ServerTLS is the configuration of a server that admits clients that are one app. The
// certificate is the server's own.
func (v *Verifier) ServerTLS(certificate tls.Certificate, root *kms.Root, expect Expect) *tls.Config {
	config := v.ClientTLS(root, expect)
	config.InsecureSkipVerify = false
	config.Certificates = []tls.Certificate{certificate}
	config.ClientAuth = tls.RequireAnyClientCert
	return config
}
