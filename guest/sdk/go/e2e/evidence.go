package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/attest"
	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

// expect is everything that is known of the app, but for the report data.
func (s *system) expect() (attest.Expect, error) {
	manifest := sha256.Sum256([]byte(s.info.TCBInfo.AppCompose))
	var registers [4][]byte
	for index, text := range append([]string{s.info.TCBInfo.MRTD}, s.info.TCBInfo.RTMRs[:3]...) {
		register, err := hex.DecodeString(text)
		if err != nil {
			return attest.Expect{}, err
		}
		registers[index] = register
	}
	return attest.Expect{
		AppID:         s.appID,
		ComposeHash:   manifest[:],
		DeviceIDs:     [][]byte{s.info.DeviceID},
		KeyProviderID: s.root.CASPKI,
		Measurements: []attest.Measurement{
			{MRTD: registers[0], RTMR0: registers[1], RTMR1: registers[2], RTMR2: registers[3]},
		},
	}, nil
}

func (s *system) quotes(ctx context.Context) error {
	expect, err := s.expect()
	if err != nil {
		return err
	}
	expect.ReportData = challenge()
	quote, err := s.client.GetQuote(ctx, expect.ReportData)
	if err != nil {
		return err
	}
	appraisal, err := s.verifier.VerifyQuote(ctx, quote, expect)
	if err != nil {
		return fmt.Errorf("answer of GetQuote: %w", err)
	}
	registers, err := quote.Replay()
	if err != nil {
		return err
	}
	attestation, err := s.client.Attest(ctx, expect.ReportData)
	if err != nil {
		return err
	}
	if _, err := s.verifier.VerifyAttestation(ctx, attestation, expect); err != nil {
		return fmt.Errorf("answer of Attest: %w", err)
	}
	if err := errors.Join(
		require(registers == appraisal.RTMR, "the event log replays to %v, the quote holds %v", registers, appraisal.RTMR),
		require(appraisal.TCBStatus == attest.UpToDate && !appraisal.Debug, "the platform is %s", appraisal.TCBStatus),
		require(bytes.Equal(appraisal.InstanceID, s.info.InstanceID), "instance %x", appraisal.InstanceID),
		require(bytes.Equal(appraisal.MRAggregated[:], s.info.MRAggregated), "mr_aggregated %x", appraisal.MRAggregated),
	); err != nil {
		return err
	}
	wrong := func(change func(*attest.Expect)) error {
		changed := expect
		change(&changed)
		_, err := s.verifier.VerifyQuote(ctx, quote, changed)
		return err
	}
	vendor, err := attest.New(attest.Options{Collateral: &attest.Collateral{}})
	if err != nil {
		return err
	}
	_, real := vendor.VerifyQuote(ctx, quote, expect)
	return errors.Join(
		refused("another challenge", wrong(func(e *attest.Expect) { e.ReportData = challenge() }), bylaw.RuleReportData),
		refused("another app", wrong(func(e *attest.Expect) { e.AppID = make([]byte, 20) }), bylaw.RuleAppID),
		refused("another manifest", wrong(func(e *attest.Expect) { e.ComposeHash = make([]byte, 32) }), bylaw.RuleComposeHash),
		refused("another machine", wrong(func(e *attest.Expect) { e.DeviceIDs = [][]byte{make([]byte, 32)} }), bylaw.RuleDevice),
		refused("another image", wrong(func(e *attest.Expect) {
			e.Measurements = []attest.Measurement{{MRTD: make([]byte, 48)}}
		}), bylaw.RuleMeasurement),
		refused("another KMS", wrong(func(e *attest.Expect) { e.KeyProviderID = []byte{1} }), bylaw.RuleKeyProvider),
		refused("another status", wrong(func(e *attest.Expect) { e.TCBStatuses = []string{"OutOfDate"} }), bylaw.RuleTCBStatus),
		refused("simulated hardware, as the vendor's,", real, bylaw.RuleQuote),
	)
}

// identity asks for a TLS identity with evidence in it.
func (s *system) identity(ctx context.Context) (*bylaw.TLSKey, tls.Certificate, error) {
	key, err := s.client.GetTLSKey(ctx, bylaw.TLSKeyOptions{
		Subject: "e2e", AltNames: []string{"e2e.example", "127.0.0.1"}, RATLS: true, ClientAuth: true, AppInfo: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(strings.Join(key.CertificateChain, "\n")), key.Key.Expose())
	if err != nil {
		return nil, pair, fmt.Errorf("the certificate is not usable for TLS: %w", err)
	}
	return key, pair, nil
}

func (s *system) certificates(ctx context.Context) error {
	key, _, err := s.identity(ctx)
	if err != nil {
		return err
	}
	chain, err := attest.ParseChain([]byte(strings.Join(key.CertificateChain, "\n")))
	if err != nil {
		return err
	}
	expect, err := s.expect()
	if err != nil {
		return err
	}
	facts, err := s.verifier.VerifyCertificate(ctx, chain, s.root, expect)
	if err != nil {
		return err
	}
	if _, err := s.verifier.VerifyCertificate(ctx, chain[:1], nil, expect); err != nil {
		return fmt.Errorf("without a root: %w", err)
	}
	plain, err := s.client.GetTLSKey(ctx, bylaw.TLSKeyOptions{Subject: "plain"})
	if err != nil {
		return err
	}
	bare, err := attest.ParseChain([]byte(strings.Join(plain.CertificateChain, "\n")))
	if err != nil {
		return err
	}
	_, noEvidence := s.verifier.VerifyCertificate(ctx, bare, s.root, expect)
	_, noIssuer := s.verifier.VerifyCertificate(ctx, chain[:1], s.root, expect)
	other := &kms.Root{K256Public: s.root.K256Public, CASPKI: chain[0].RawSubjectPublicKeyInfo}
	_, otherRoot := s.verifier.VerifyCertificate(ctx, chain, other, expect)
	expect.AppID = make([]byte, 20)
	_, otherApp := s.verifier.VerifyCertificate(ctx, chain, s.root, expect)
	return errors.Join(
		require(facts.Subject == "e2e" && slices.Equal(facts.DNSNames, []string{"e2e.example"}) &&
			slices.Equal(facts.IPAddresses, []string{"127.0.0.1"}) && facts.IssuedByKMS, "certificate facts %+v", facts),
		require(bytes.Equal(facts.AppID, s.appID), "the certificate is of app %x", facts.AppID),
		refused("a certificate without evidence", noEvidence, bylaw.RuleEncoding),
		refused("a leaf without its issuer", noIssuer, bylaw.RuleChain),
		refused("another root", otherRoot, bylaw.RuleChain),
		refused("another app", otherApp, bylaw.RuleAppID),
	)
}

// tls has two peers verify each other.
func (s *system) tls(ctx context.Context) error {
	expect, err := s.expect()
	if err != nil {
		return err
	}
	_, serving, err := s.identity(ctx)
	if err != nil {
		return err
	}
	_, calling, err := s.identity(ctx)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // Refusals are part of the test.
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
	}
	defer func() { _ = server.Close() }()
	go func() { _ = server.Serve(tls.NewListener(listener, s.verifier.ServerTLS(serving, s.root, expect))) }()
	call := func(expect attest.Expect, identity *tls.Certificate) error {
		config := s.verifier.ClientTLS(s.root, expect)
		if identity != nil {
			config.Certificates = []tls.Certificate{*identity}
		}
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		get, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+listener.Addr().String(), nil)
		if err != nil {
			return err
		}
		answer, err := (&http.Client{Transport: transport}).Do(get)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		_, err = io.ReadAll(answer.Body)
		return err
	}
	if err := call(expect, &calling); err != nil {
		return err
	}
	anonymous := call(expect, nil)
	expect.AppID = make([]byte, 20)
	return errors.Join(
		require(anonymous != nil, "the server admits a client without a certificate"),
		refused("another app", call(expect, &calling), bylaw.RuleAppID),
	)
}

func (s *system) events(ctx context.Context) error {
	name, payload := "e2e-go", challenge()[:16]
	if err := s.client.EmitEvent(ctx, name, payload); err != nil {
		return err
	}
	// What an app measures itself must not pass for what the system measured.
	if err := s.client.EmitEvent(ctx, "app-id", make([]byte, 20)); err != nil {
		return err
	}
	expect, err := s.expect()
	if err != nil {
		return err
	}
	expect.ReportData = challenge()
	quote, err := s.client.GetQuote(ctx, expect.ReportData)
	if err != nil {
		return err
	}
	appraisal, err := s.verifier.VerifyQuote(ctx, quote, expect)
	if err != nil {
		return err
	}
	measured := slices.ContainsFunc(appraisal.Events, func(event eventlog.Event) bool {
		return event.Name == name && bytes.Equal(event.Payload, payload)
	})
	return require(measured, "the event is not among those that are measured")
}
