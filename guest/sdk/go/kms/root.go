// Package kms reads the root of trust of a KMS from its contract, and verifies chains of
// keys that end there.
package kms

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/ethereum/go-ethereum/accounts/abi"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/recoverable"
)

// Root is the public half of what every key of a KMS comes from.
type Root struct {
	// K256Public signs app keys: a compressed secp256k1 key, 33 bytes.
	K256Public []byte
	// CASPKI is the root CA's key: SubjectPublicKeyInfo, DER. It signs app CAs.
	CASPKI []byte
}

const (
	kmsInfoABI = `[{"type":"function","name":"kmsInfo","stateMutability":"view","inputs":[],"outputs":[
		{"name":"k256Pubkey","type":"bytes"},{"name":"caPubkey","type":"bytes"},
		{"name":"quote","type":"bytes"},{"name":"eventlog","type":"bytes"}]}]`

	// finalized: a block that a reorganisation cannot take back.
	blockTag       = "finalized"
	maxAnswer      = 4 << 20
	defaultTimeout = 30 * time.Second
	addressLength  = 20
)

var parsedABI = sync.OnceValues(func() (abi.ABI, error) {
	return abi.JSON(strings.NewReader(kmsInfoABI))
})

// FetchRoot reads the root from a KmsAuth contract, as of the last finalized block. Whoever
// answers at rpcURL is believed, so it should be a node of your own or one you trust.
func FetchRoot(ctx context.Context, rpcURL, kmsAuth string) (*Root, error) {
	address, err := hex.DecodeString(strings.TrimPrefix(kmsAuth, "0x"))
	if err != nil || len(address) != addressLength {
		return nil, fmt.Errorf("KmsAuth address %q is not 20 bytes of hex", kmsAuth)
	}
	contract, err := parsedABI()
	if err != nil {
		return nil, fmt.Errorf("ABI of KmsAuth: %w", err)
	}
	call := map[string]string{
		"to":   "0x" + hex.EncodeToString(address),
		"data": "0x" + hex.EncodeToString(contract.Methods["kmsInfo"].ID),
	}
	returned, err := ethCall(ctx, rpcURL, call)
	if err != nil {
		return nil, fmt.Errorf("kmsInfo() of KmsAuth %s: %w", kmsAuth, err)
	}
	return DecodeRoot(returned)
}

// DecodeRoot reads the root from the bytes that kmsInfo() returns.
func DecodeRoot(returned []byte) (*Root, error) {
	if len(returned) == 0 {
		return nil, bylaw.Refuse(bylaw.RuleRoot, "kmsInfo() returned nothing: there is no KmsAuth at this address")
	}
	contract, err := parsedABI()
	if err != nil {
		return nil, fmt.Errorf("ABI of KmsAuth: %w", err)
	}
	values, err := contract.Unpack("kmsInfo", returned)
	if err != nil {
		return nil, bylaw.Because(bylaw.RuleEncoding, err, "kmsInfo() did not return four byte strings")
	}
	k256, k256OK := values[0].([]byte)
	spki, spkiOK := values[1].([]byte)
	if !k256OK || !spkiOK {
		return nil, bylaw.Refuse(bylaw.RuleEncoding, "kmsInfo() did not return four byte strings")
	}
	return NewRoot(k256, spki)
}

// NewRoot makes a root from keys that were obtained another way. Both are checked.
func NewRoot(k256Public, caSPKI []byte) (*Root, error) {
	if len(k256Public) == 0 || len(caSPKI) == 0 {
		return nil, bylaw.Refuse(bylaw.RuleRoot, "KmsAuth names no KMS root")
	}
	if len(k256Public) != recoverable.PublicKeyLength {
		return nil, bylaw.Refuse(bylaw.RuleRoot,
			"the root's secp256k1 key has %d bytes, not %d", len(k256Public), recoverable.PublicKeyLength)
	}
	if _, err := secp256k1.ParsePubKey(k256Public); err != nil {
		return nil, bylaw.Because(bylaw.RuleRoot, err, "the root's secp256k1 key")
	}
	if _, err := x509.ParsePKIXPublicKey(caSPKI); err != nil {
		return nil, bylaw.Because(bylaw.RuleRoot, err, "the root CA's key")
	}
	return &Root{K256Public: bytes.Clone(k256Public), CASPKI: bytes.Clone(caSPKI)}, nil
}

// ethCall makes one JSON-RPC request and returns the bytes it is answered with.
func ethCall(ctx context.Context, rpcURL string, call map[string]string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": []any{call, blockTag},
	})
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, rpcURL, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxAnswer {
		return nil, fmt.Errorf("the node's answer exceeds %d bytes", maxAnswer)
	}
	var form struct {
		Result *string `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(content, &form); err != nil {
		return nil, fmt.Errorf("the node answers with status %d and no JSON-RPC", answer.StatusCode)
	}
	if form.Error != nil {
		return nil, fmt.Errorf("the node refuses: %s (code %d)", form.Error.Message, form.Error.Code)
	}
	if form.Result == nil {
		return nil, fmt.Errorf("the node's answer has no `result`")
	}
	returned, err := hex.DecodeString(strings.TrimPrefix(*form.Result, "0x"))
	if err != nil {
		return nil, fmt.Errorf("the node's `result` is not hexadecimal")
	}
	return returned, nil
}
