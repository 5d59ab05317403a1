package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/account"
	"github.com/bylaw/bylaw/guest/sdk/go/environment"
	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

const purpose = "e2e"

func (s *system) keys(ctx context.Context) error {
	first, err := s.client.GetKey(ctx, "e2e/go", purpose, "")
	if err != nil {
		return err
	}
	for _, algorithm := range []string{bylaw.Secp256k1, bylaw.Ed25519} {
		key, err := s.client.GetKey(ctx, "e2e/go", purpose, algorithm)
		if err != nil {
			return err
		}
		app, err := kms.VerifyDerivedKey(s.root, s.appID, purpose, algorithm, key)
		if err != nil {
			return fmt.Errorf("%s: %w", algorithm, err)
		}
		other := &kms.Root{K256Public: app, CASPKI: s.root.CASPKI}
		_, wrongPurpose := kms.VerifyDerivedKey(s.root, s.appID, "other", algorithm, key)
		_, wrongApp := kms.VerifyDerivedKey(s.root, make([]byte, 20), purpose, algorithm, key)
		_, wrongRoot := kms.VerifyDerivedKey(other, s.appID, purpose, algorithm, key)
		if err := errors.Join(
			require(bytes.Equal(key.Secret.Expose(), first.Secret.Expose()), "%s: the key depends on more than the path", algorithm),
			require(!strings.Contains(fmt.Sprintf("%+v %#v %x", key, key, key), hex.EncodeToString(key.Secret.Expose())), "the key prints"),
			refused("another purpose", wrongPurpose, bylaw.RuleChain),
			refused("another app", wrongApp, bylaw.RuleChain),
			refused("another root", wrongRoot, bylaw.RuleChain),
		); err != nil {
			return err
		}
	}
	other, err := s.client.GetKey(ctx, "e2e/other", purpose, "")
	if err != nil {
		return err
	}
	return require(!bytes.Equal(other.Secret.Expose(), first.Secret.Expose()), "two paths have one key")
}

func (s *system) accounts(ctx context.Context) error {
	key, err := s.client.GetKey(ctx, "e2e/wallet", purpose, "")
	if err != nil {
		return err
	}
	ethereum, err := account.NewEthereum(key)
	if err != nil {
		return err
	}
	solana, err := account.NewSolana(key)
	if err != nil {
		return err
	}
	return errors.Join(
		require(len(ethereum.Address) == 42 && strings.HasPrefix(ethereum.Address, "0x"), "address %s", ethereum),
		require(ed25519.Verify(solana.Public, []byte("x"), ed25519.Sign(solana.PrivateKey(), []byte("x"))), "account %s does not sign", solana),
	)
}

func (s *system) signatures(ctx context.Context) error {
	digest := sha256.Sum256([]byte("data"))
	for algorithm, data := range map[string][]byte{
		bylaw.Ed25519: []byte("data"), bylaw.Secp256k1: []byte("data"), bylaw.Secp256k1Prehashed: digest[:],
	} {
		answer, err := s.client.Sign(ctx, algorithm, data)
		if err != nil {
			return err
		}
		if _, err := kms.VerifySignature(s.root, s.appID, algorithm, data, answer); err != nil {
			return fmt.Errorf("%s: %w", algorithm, err)
		}
		valid, err := s.client.Verify(ctx, algorithm, data, answer.Signature, answer.PublicKey)
		if err != nil || !valid {
			return fmt.Errorf("%s: the agent says %v, %w", algorithm, valid, err)
		}
		changed := append([]byte{}, data...)
		changed[0] ^= 1
		valid, err = s.client.Verify(ctx, algorithm, changed, answer.Signature, answer.PublicKey)
		if err != nil || valid {
			return fmt.Errorf("%s: other data is valid: %v, %w", algorithm, valid, err)
		}
		_, otherData := kms.VerifySignature(s.root, s.appID, algorithm, changed, answer)
		_, otherApp := kms.VerifySignature(s.root, make([]byte, 20), algorithm, data, answer)
		if err := errors.Join(
			refused("other data", otherData, bylaw.RuleSignature),
			refused("another app", otherApp, bylaw.RuleChain),
		); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) environments(ctx context.Context) error {
	url := os.Getenv("KMS_URL")
	if url == "" {
		return errors.New("KMS_URL is not set")
	}
	// Who answers does not matter: the root's signature over the key decides.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	body := strings.NewReader(`{"app_id":"` + hex.EncodeToString(s.appID) + `"}`)
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/prpc/GetAppEnvEncryptPubKey?json", body)
	if err != nil {
		return err
	}
	answer, err := client.Do(post)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	var form struct {
		PublicKey   string `json:"public_key"`
		Signature   string `json:"signature"`
		SignatureV1 string `json:"signature_v1"`
		Timestamp   uint64 `json:"timestamp"`
	}
	if err := json.Unmarshal(content, &form); err != nil {
		return fmt.Errorf("the KMS answers %s: %w", shortened(string(content)), err)
	}
	var decoded [3][]byte
	for index, text := range []string{form.PublicKey, form.Signature, form.SignatureV1} {
		if decoded[index], err = hex.DecodeString(text); err != nil {
			return err
		}
	}
	public, legacy, signature := decoded[0], decoded[1], decoded[2]
	options := kms.EnvKeyOptions{Root: s.root}
	if _, err := kms.VerifyEnvKey(public, s.appID, form.Timestamp, signature, options); err != nil {
		return err
	}
	if _, err := kms.VerifyEnvKeyLegacy(public, s.appID, legacy, s.root); err != nil {
		return err
	}
	_, otherApp := kms.VerifyEnvKey(public, make([]byte, 20), form.Timestamp, signature, options)
	options.Now = time.Now().Add(time.Hour)
	_, tooOld := kms.VerifyEnvKey(public, s.appID, form.Timestamp, signature, options)
	signer, err := environment.NewKeySigner(challenge()[:32])
	if err != nil {
		return err
	}
	vars := []environment.Var{{Name: "API_KEY", Value: "secret"}}
	anonymous, err := environment.Encrypt(vars, public)
	if err != nil {
		return err
	}
	signed, err := environment.EncryptSigned(vars, public, s.appID, 1, signer)
	if err != nil {
		return err
	}
	return errors.Join(
		refused("another app", otherApp, bylaw.RuleRoot),
		refused("an old key", tooOld, bylaw.RuleTimestamp),
		require(len(anonymous) > 60 && bytes.HasPrefix(signed, []byte("BYLAWENV\x02")), "environments are malformed"),
	)
}

func (s *system) errors(ctx context.Context) error {
	_, err := s.client.GetKey(ctx, "e2e", purpose, "rsa")
	var call *bylaw.CallError
	if !errors.As(err, &call) || call.Status != http.StatusBadRequest || call.Code == "" {
		return fmt.Errorf("an unknown algorithm gives %v", err)
	}
	_, err = s.client.GetTLSKey(ctx, bylaw.TLSKeyOptions{NotBefore: time.Unix(200, 0), NotAfter: time.Unix(100, 0)})
	if !errors.As(err, &call) {
		return fmt.Errorf("a certificate that ends before it begins gives %v", err)
	}
	_, err = s.client.Sign(ctx, bylaw.Secp256k1Prehashed, []byte("short"))
	if !errors.As(err, &call) || !strings.Contains(call.Message, "32-byte digest") {
		return fmt.Errorf("a short digest gives %v", err)
	}
	return nil
}
