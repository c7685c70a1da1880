/** Starts the server of trino-main. The artifact with Trino's own main class is not published for this version. */
public final class Start {
    public static void main(String[] args) {
        new io.trino.server.Server().start("406");
    }
}
