package dev.nagaya.client;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Connections by their addresses. */
final class Addresses {
  private static final int LARGEST_MESSAGE = 16 << 20;
  private static final Pattern FORM =
      Pattern.compile(
          "(?<scheme>https?://|dns(?<tls>\\+https)?://(?<server>[^/]*)/)?"
              + "(?<at>(?<host>\\[[^\\]]+\\]|[^\\[\\]:/@?#]+)(:(?<port>[0-9]{1,5}))?)");
  private static final Map<String, ?> BALANCED =
      Map.of(
          "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
          "healthCheckConfig", Map.of("serviceName", ""));

  private Addresses() {}

  /**
   * Returns a connection, which is opened when it is first needed.
   *
   * @throws IllegalArgumentException for what is no address
   */
  static ManagedChannel open(String address, ChannelCredentials tls) {
    Matcher form = FORM.matcher(address);
    boolean https = form.matches() && "https://".equals(form.group("scheme"));
    if (!form.matches() || (form.group("port") == null && !https)) {
      throw new IllegalArgumentException(
          "\"" + address + "\" is no address: write host:port, or https://host:port for TLS");
    }
    String scheme = form.group("scheme") == null ? "" : form.group("scheme");
    boolean balanced = scheme.startsWith("dns");
    boolean secure = https || form.group("tls") != null;
    String server = form.group("server") == null ? "" : form.group("server");
    ChannelCredentials credentials = secure ? tls : InsecureChannelCredentials.create();
    String port = form.group("port") == null ? "443" : form.group("port");
    ManagedChannelBuilder<?> builder =
        balanced
            ? Grpc.newChannelBuilder("dns://" + server + "/" + form.group("at"), credentials)
            : Grpc.newChannelBuilderForAddress(
                form.group("host"), Integer.parseInt(port), credentials);
    builder
        .disableRetry() // this package repeats calls itself
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS)
        .maxInboundMessageSize(LARGEST_MESSAGE);
    if (balanced) {
      builder.defaultServiceConfig(BALANCED);
    }
    return builder.build();
  }
}
