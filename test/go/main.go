// Verifies a TDX quote and its collateral with Google's go-tdx-guest, given a
// root and a PCCS: an opinion on the software TEE that shares no code with ours.
//
// Usage: verify QUOTE ROOT_PEM PCCS_URL
package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/google/go-tdx-guest/verify"
)

// pccs asks the local service for what the library wants from Intel's.
type pccs struct{ base string }

func (p pccs) Get(wanted string) (map[string][]string, []byte, error) {
	parsed, err := url.Parse(wanted)
	if err != nil {
		return nil, nil, err
	}
	target := p.base + parsed.Path + "?" + parsed.RawQuery
	answer, err := http.Get(target)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s: %s", target, answer.Status)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.Header, body, err
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("usage: verify QUOTE ROOT_PEM PCCS_URL")
	}
	quote, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	root, err := os.ReadFile(arguments[1])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return fmt.Errorf("%s holds no certificate", arguments[1])
	}
	return verify.RawTdxQuote(quote, &verify.Options{
		CheckRevocations: true,
		GetCollateral:    true,
		Getter:           pccs{base: arguments[2]},
		Now:              time.Now(),
		TrustedRoots:     roots,
	})
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("verified")
}
