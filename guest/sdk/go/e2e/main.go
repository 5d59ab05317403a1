// The program e2e tries every function of the SDK on a running system and judges what
// comes back. It takes the system from the environment, as `bylaw dev` writes it, prints
// "sdk ok" at the end, and otherwise says what is wrong and fails.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/attest"
	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

// system is the running system and what is known about it beforehand.
type system struct {
	client   *bylaw.Client
	verifier *attest.Verifier
	root     *kms.Root
	appID    []byte
	info     *bylaw.Info
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sdk failed:", err)
		os.Exit(1)
	}
	fmt.Println("sdk ok")
}

func run(ctx context.Context) error {
	s, err := connect(ctx)
	if err != nil {
		return err
	}
	defer s.client.Close()
	for _, step := range []struct {
		name string
		try  func(context.Context) error
	}{
		{"info", s.facts},
		{"keys", s.keys},
		{"accounts", s.accounts},
		{"signatures", s.signatures},
		{"quotes", s.quotes},
		{"certificates", s.certificates},
		{"tls", s.tls},
		{"events", s.events},
		{"environments", s.environments},
		{"errors", s.errors},
	} {
		if err := step.try(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("ok", step.name)
	}
	return nil
}

// variable reads a variable that must be set.
func variable(name string) (string, error) {
	if value := os.Getenv(name); value != "" {
		return value, nil
	}
	return "", fmt.Errorf("%s is not set; start a system with `bylaw dev --detach` and read .bylaw-dev/env", name)
}

func connect(ctx context.Context) (*system, error) {
	values := map[string]string{}
	for _, name := range []string{
		bylaw.EndpointVariable, "ETH_RPC_URL", "KMS_CONTRACT_ADDR", "APP_CONTRACT_ADDR", "BYLAW_ROOT_CA", "BYLAW_COLLATERAL",
	} {
		value, err := variable(name)
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	appID, err := hex.DecodeString(strings.TrimPrefix(values["APP_CONTRACT_ADDR"], "0x"))
	if err != nil {
		return nil, fmt.Errorf("APP_CONTRACT_ADDR: %w", err)
	}
	pem, err := os.ReadFile(values["BYLAW_ROOT_CA"])
	if err != nil {
		return nil, err
	}
	trusted, err := attest.ParseRoot(pem)
	if err != nil {
		return nil, err
	}
	collateral, err := attest.NewPCCS(values["BYLAW_COLLATERAL"])
	if err != nil {
		return nil, err
	}
	verifier, err := attest.New(attest.Options{Root: trusted, Collateral: collateral})
	if err != nil {
		return nil, err
	}
	root, err := kms.FetchRoot(ctx, values["ETH_RPC_URL"], values["KMS_CONTRACT_ADDR"])
	if err != nil {
		return nil, err
	}
	client, err := bylaw.New(bylaw.Options{})
	if err != nil {
		return nil, err
	}
	info, err := client.Info(ctx)
	if err != nil {
		return nil, err
	}
	return &system{client: client, verifier: verifier, root: root, appID: appID, info: info}, nil
}

// require turns a condition into an error.
func require(holds bool, format string, values ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, values...)
}

// refused demands that something was refused by one of these rules.
func refused(what string, err error, rules ...bylaw.Rule) error {
	var verdict *bylaw.VerifyError
	if !errors.As(err, &verdict) {
		return fmt.Errorf("%s is not refused: %v", what, err)
	}
	for _, rule := range rules {
		if verdict.Code == rule {
			return nil
		}
	}
	return fmt.Errorf("%s is refused by rule %s, not %v", what, verdict.Code, rules)
}

func (s *system) facts(ctx context.Context) error {
	version, err := s.client.Version(ctx)
	if err != nil {
		return err
	}
	if _, err := s.client.GPUInfo(ctx); err != nil {
		return err
	}
	gone, err := bylaw.New(bylaw.Options{Endpoint: "/nonexistent/dstack.sock"})
	if err != nil {
		return err
	}
	tcb := s.info.TCBInfo
	return errors.Join(
		require(version.Version != "", "the agent has no version"),
		require(s.client.IsReachable(ctx), "the agent is not reachable"),
		require(!gone.IsReachable(ctx), "a socket that does not exist is reachable"),
		require(bytes.Equal(s.info.AppID, s.appID), "the agent says app %x, not %x", s.info.AppID, s.appID),
		require(s.info.AppName != "" && s.info.AppCert != "" && s.info.KeyProviderInfo != "", "info lacks texts"),
		require(tcb != nil && len(tcb.MRTD) == 96 && len(tcb.EventLog) > 0, "TCB info lacks measurements"),
	)
}

// challenge is fresh report data.
func challenge() []byte {
	data := make([]byte, 64)
	_, _ = rand.Read(data)
	return data
}

func shortened(text string) string {
	if len(text) > 60 {
		return text[:60] + "..."
	}
	return text
}
