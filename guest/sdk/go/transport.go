package bylaw

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// EndpointVariable names the environment variable that overrides the search for a socket.
	EndpointVariable = "DSTACK_SIMULATOR_ENDPOINT"

	// DefaultConnectTimeout bounds connecting to the agent.
	DefaultConnectTimeout = 3 * time.Second
	// DefaultTimeout bounds a whole call.
	DefaultTimeout = 30 * time.Second
	// MaxAnswer is the longest answer that is read, in bytes.
	MaxAnswer = 16 << 20

	reachableTimeout = 500 * time.Millisecond
	maxErrorExcerpt  = 200
)

// Sockets are the places where the agent listens, in the order of the search.
var Sockets = []string{
	"/var/run/dstack.sock",
	"/run/dstack.sock",
	"/var/run/dstack/dstack.sock",
	"/run/dstack/dstack.sock",
}

// Options says where the agent is and how long to wait for it. The zero value is fine.
type Options struct {
	// Endpoint is the path of a Unix socket or an http(s) base URL. When empty, the
	// environment variable [EndpointVariable] and then the first of [Sockets] that exists.
	Endpoint string
	// ConnectTimeout bounds connecting; [DefaultConnectTimeout] when zero.
	ConnectTimeout time.Duration
	// Timeout bounds a whole call; [DefaultTimeout] when zero.
	Timeout time.Duration
}

// Client calls the guest agent. It is safe for concurrent use.
type Client struct {
	endpoint string
	base     string
	http     *http.Client
	timeout  time.Duration
}

// New makes a client; it does not connect yet.
func New(options Options) (*Client, error) {
	endpoint, err := findEndpoint(options.Endpoint)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: orDefault(options.ConnectTimeout, DefaultConnectTimeout)}
	// No proxy: answers hold secrets, and the agent is on this machine.
	transport := &http.Transport{
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: dialer.Timeout,
		MaxIdleConns:        4,
		IdleConnTimeout:     time.Minute,
	}
	base := strings.TrimRight(endpoint, "/")
	if path, ok := socketPath(endpoint); ok {
		base = "http://dstack"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	} else if parsed, err := url.Parse(endpoint); err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("endpoint %q is neither the path of a socket nor an http(s) URL", endpoint)
	}
	return &Client{
		endpoint: endpoint,
		base:     base,
		timeout:  orDefault(options.Timeout, DefaultTimeout),
		http: &http.Client{
			Transport: transport,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}, nil
}

// Endpoint is where the client calls.
func (c *Client) Endpoint() string { return c.endpoint }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func findEndpoint(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if named := os.Getenv(EndpointVariable); named != "" {
		return named, nil
	}
	for _, path := range Sockets {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf(
		"no guest agent: none of %s exists; mount the socket into the container, or set %s",
		strings.Join(Sockets, ", "), EndpointVariable,
	)
}

func socketPath(endpoint string) (string, bool) {
	lower := strings.ToLower(endpoint)
	if strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://") {
		return "", false
	}
	return strings.TrimPrefix(endpoint, "unix:"), true
}

func orDefault(value, otherwise time.Duration) time.Duration {
	if value <= 0 {
		return otherwise
	}
	return value
}

// call posts a request and returns the body of a good answer.
func (c *Client) call(ctx context.Context, method string, request any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("%s: the request does not serialise: %w", method, err)
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	post.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(post)
	if err != nil {
		return nil, fmt.Errorf("%s: the agent at %s does not answer: %w", method, c.endpoint, withoutURL(err))
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(answer.Body, MaxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: the agent's answer breaks off: %w", method, err)
	}
	if len(content) > MaxAnswer {
		return nil, &AnswerError{Method: method, Reason: fmt.Sprintf("it exceeds %d bytes", MaxAnswer)}
	}
	if answer.StatusCode != http.StatusOK {
		return nil, refusal(method, answer.StatusCode, content)
	}
	return content, nil
}

// withoutURL drops the made-up URL that net/http prefixes; the caller knows the endpoint.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func refusal(method string, status int, content []byte) *CallError {
	refused := &CallError{Method: method, Status: status}
	var form struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}
	if err := json.Unmarshal(content, &form); err == nil && form.Error != "" {
		refused.Message, refused.Code = form.Error, form.Code
		return refused
	}
	text := strings.ToValidUTF8(strings.TrimSpace(string(content)), "?")
	if len(text) > maxErrorExcerpt {
		text = strings.ToValidUTF8(text[:maxErrorExcerpt], "") + "..."
	}
	refused.Message = fmt.Sprintf("the agent refuses without a reason it can be quoted with: %q", text)
	return refused
}
