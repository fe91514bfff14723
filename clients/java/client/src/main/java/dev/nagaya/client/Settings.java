package dev.nagaya.client;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;

/**
 * Says where Nagaya is, and who calls.
 *
 * <p>An address is {@code host:port} or {@code http://host:port} for plaintext, {@code
 * https://host:port} for TLS, {@code dns:///name:port} to balance over all servers of a name. Only
 * the addresses of services that are called need be given.
 */
public final class Settings {
  final String tenant;
  final String runs;
  final String artifacts;
  final String llmGateway;
  final Token token;
  final ChannelCredentials tls;
  final Duration timeout;

  private Settings(Builder builder) {
    tenant = builder.tenant;
    runs = builder.runs;
    artifacts = builder.artifacts;
    llmGateway = builder.llmGateway;
    token = Objects.requireNonNull(builder.token, "the settings have no token");
    tls = builder.tls;
    timeout = builder.timeout;
  }

  /** Returns settings to be filled in. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Reads {@code NAGAYA_TENANT_ADDRESS}, {@code NAGAYA_RUNS_ADDRESS}, {@code
   * NAGAYA_ARTIFACTS_ADDRESS}, {@code NAGAYA_LLM_GATEWAY_ADDRESS}, {@code NAGAYA_TOKEN} or {@code
   * NAGAYA_TOKEN_FILE}, {@code NAGAYA_CA_FILE} (certificates to trust, in PEM, instead of the
   * system's), and {@code NAGAYA_TLS_CERT_FILE} with {@code NAGAYA_TLS_KEY_FILE}: the client's own
   * certificate.
   */
  public static Settings fromEnvironment() throws IOException {
    Map<String, String> environment = System.getenv();
    Builder builder =
        builder()
            .tenant(environment.get("NAGAYA_TENANT_ADDRESS"))
            .runs(environment.get("NAGAYA_RUNS_ADDRESS"))
            .artifacts(environment.get("NAGAYA_ARTIFACTS_ADDRESS"))
            .llmGateway(environment.get("NAGAYA_LLM_GATEWAY_ADDRESS"));
    String text = environment.getOrDefault("NAGAYA_TOKEN", "");
    String file = environment.getOrDefault("NAGAYA_TOKEN_FILE", "");
    if (text.isEmpty() && file.isEmpty()) {
      throw new IllegalArgumentException("no token: set NAGAYA_TOKEN or NAGAYA_TOKEN_FILE");
    }
    builder.token(text.isEmpty() ? Token.file(Path.of(file)) : Token.text(text));
    builder.tls(tls(environment));
    return builder.build();
  }

  private static ChannelCredentials tls(Map<String, String> environment) throws IOException {
    String authorities = environment.getOrDefault("NAGAYA_CA_FILE", "");
    String chain = environment.getOrDefault("NAGAYA_TLS_CERT_FILE", "");
    String key = environment.getOrDefault("NAGAYA_TLS_KEY_FILE", "");
    if (chain.isEmpty() != key.isEmpty()) {
      throw new IllegalArgumentException(
          "set both NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE, or neither");
    }
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (!authorities.isEmpty()) {
      tls.trustManager(new File(authorities));
    }
    if (!chain.isEmpty()) {
      tls.keyManager(new File(chain), new File(key));
    }
    return tls.build();
  }

  /** Settings to be filled in. */
  public static final class Builder {
    private String tenant;
    private String runs;
    private String artifacts;
    private String llmGateway;
    private Token token;
    private ChannelCredentials tls = TlsChannelCredentials.create();
    private Duration timeout;

    private Builder() {}

    /** Sets the address of the tenant service. */
    public Builder tenant(String address) {
      tenant = address;
      return this;
    }

    /** Sets the address of the runs service. */
    public Builder runs(String address) {
      runs = address;
      return this;
    }

    /** Sets the address of the artifacts service. */
    public Builder artifacts(String address) {
      artifacts = address;
      return this;
    }

    /** Sets the address of the llm-gateway service. */
    public Builder llmGateway(String address) {
      llmGateway = address;
      return this;
    }

    /** Sets who calls. */
    public Builder token(Token token) {
      this.token = token;
      return this;
    }

    /** Sets what TLS trusts, and the client's certificate; the system's certificates when unset. */
    public Builder tls(ChannelCredentials credentials) {
      tls = credentials;
      return this;
    }

    /**
     * Sets how long a call with one response may take, an upload too; what its contract allows when
     * unset.
     */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /** Returns the settings. */
    public Settings build() {
      return new Settings(this);
    }
  }
}
