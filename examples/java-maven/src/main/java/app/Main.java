package app;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** Answers {@code GET /leap/YEAR} with the JDK's own HTTP server. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
        server.createContext("/leap/", Main::leap);
        server.createContext("/health", exchange -> answer(exchange, 200, "ok\n"));
        server.start();
        System.out.println("listening on port " + port);
    }

    private static void leap(HttpExchange exchange) throws IOException {
        String year = exchange.getRequestURI().getPath().substring("/leap/".length());
        try {
            boolean leap = LeapYear.isLeap(Long.parseLong(year));
            answer(exchange, 200, "{\"year\":" + Long.parseLong(year) + ",\"leap\":" + leap + "}\n");
        } catch (NumberFormatException e) {
            answer(exchange, 400, "not a year\n");
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
