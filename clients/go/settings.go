package nagaya

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// Settings say where Nagaya is, and who calls.
type Settings struct {
	// The addresses of the services: host:port or http://host:port for plaintext,
	// https://host:port for TLS, dns:///name:port or dns+https:///name:port to balance calls over all
	// servers of a name. Only those that are called need be given.
	Tenant, Runs, Artifacts, LLMGateway string
	// Token is asked for the caller's token before each call.
	Token Token
	// TLS of https:// addresses; when nil, the system's certificates are trusted.
	TLS *tls.Config
	// Timeout of a call with one response, an upload too; when 0, what its contract allows. An earlier
	// deadline of the call's context counts.
	Timeout time.Duration
	// DialOptions are added to those of each connection: interceptors, a load balancing policy.
	DialOptions []grpc.DialOption
}

// A Token returns the caller's token: printable ASCII; white space around it is not sent. It is
// asked before each attempt at a call, so a token can be renewed while the client runs.
type Token func() (string, error)

// read returns the token as it is sent.
func (t Token) read() (string, error) {
	text, err := t()
	if err != nil {
		return "", err
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", errors.New("the token is empty")
	}
	// Anything else would break the header that carries it. The text itself is told to nobody.
	if strings.ContainsFunc(text, func(char rune) bool { return char < '!' || char > '~' }) {
		return "", errors.New("the token is not one word of ASCII")
	}
	return text, nil
}

// TokenText returns a Token that does not change.
func TokenText(text string) Token {
	return func() (string, error) { return text, nil }
}

// TokenFile returns the Token that a file holds, which is read anew for each call.
func TokenFile(path string) Token {
	return func() (string, error) {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("the token file cannot be read: %w", err)
		}
		text := strings.TrimSpace(string(content))
		if text == "" {
			return "", fmt.Errorf("the token file %s is empty", path)
		}
		return text, nil
	}
}

// SettingsFromEnvironment reads NAGAYA_TENANT_ADDRESS, NAGAYA_RUNS_ADDRESS,
// NAGAYA_ARTIFACTS_ADDRESS, NAGAYA_LLM_GATEWAY_ADDRESS, NAGAYA_TOKEN or NAGAYA_TOKEN_FILE,
// NAGAYA_CA_FILE (certificates to trust, in PEM, instead of the system's), and NAGAYA_TLS_CERT_FILE
// with NAGAYA_TLS_KEY_FILE: the client's own certificate, read anew for each connection.
func SettingsFromEnvironment() (Settings, error) {
	settings := Settings{
		Tenant:     os.Getenv("NAGAYA_TENANT_ADDRESS"),
		Runs:       os.Getenv("NAGAYA_RUNS_ADDRESS"),
		Artifacts:  os.Getenv("NAGAYA_ARTIFACTS_ADDRESS"),
		LLMGateway: os.Getenv("NAGAYA_LLM_GATEWAY_ADDRESS"),
	}
	text, file := os.Getenv("NAGAYA_TOKEN"), os.Getenv("NAGAYA_TOKEN_FILE")
	switch {
	case text != "":
		settings.Token = TokenText(text)
	case file != "":
		settings.Token = TokenFile(file)
	default:
		return settings, errors.New("no token: set NAGAYA_TOKEN or NAGAYA_TOKEN_FILE")
	}
	config, err := tlsFromEnvironment()
	settings.TLS = config
	return settings, err
}

func tlsFromEnvironment() (*tls.Config, error) {
	config := &tls.Config{}
	if path := os.Getenv("NAGAYA_CA_FILE"); path != "" {
		roots, err := readCertificates(path)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	chain, key := os.Getenv("NAGAYA_TLS_CERT_FILE"), os.Getenv("NAGAYA_TLS_KEY_FILE")
	if (chain == "") != (key == "") {
		return nil, errors.New("set both NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE, or neither")
	}
	if chain != "" {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			own, err := tls.LoadX509KeyPair(chain, key)
			return &own, err
		}
	}
	return config, nil
}

func readCertificates(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("NAGAYA_CA_FILE cannot be read: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("NAGAYA_CA_FILE: %s holds no certificate in PEM", path)
	}
	return roots, nil
}

// address is where a service is reached, and how.
type address struct {
	// text is what was given.
	text string
	// target is what gRPC dials.
	target string
	// secure tells whether TLS is spoken there.
	secure bool
	// balanced tells whether calls go to all servers of a name in turn, else to the first.
	balanced bool
}

// parseAddress reads host:port, http://host:port, https://host:port, and dns:///name:port or
// dns+https:///name:port, which balance over all servers of a name. https:// without a port is 443.
func parseAddress(text string) (address, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "http", text
	}
	read := address{text: text}
	switch scheme {
	case "http":
		read.target = "dns:///" + rest
	case "https":
		if strings.LastIndexByte(rest, ':') <= strings.LastIndexByte(rest, ']') {
			rest += ":443"
		}
		read.secure, read.target = true, "dns:///"+rest
	case "dns", "dns+https":
		read.secure, read.balanced = scheme == "dns+https", true
		read.target = "dns://" + rest
		_, rest, found = strings.Cut(rest, "/") // before it stands the DNS server, if one is named
		if !found {
			rest = ""
		}
	default:
		rest = ""
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil || host == "" || port == "" || strings.ContainsAny(rest, "/@?#") {
		return address{}, fmt.Errorf(
			"%q is no address: write host:port, or https://host:port for TLS", text)
	}
	return read, nil
}
