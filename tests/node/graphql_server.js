// GraphQL subscriptions by graphql-ws, whose onConnect judges who comes.

const { buildSchema } = require("graphql");
const { useServer } = require("graphql-ws/use/ws");
const { WebSocketServer } = require("ws");
const server = require("./service")();

const schema = buildSchema(`
    type Query { greeting(name: String!): String! }
    type Subscription { countdown(from: Int!): Int! }
`);
const query = { greeting: ({ name }) => `hello ${name}` };
const subscription = {
    async *countdown({ from }) {
        for (let left = from; left >= 0; left--) yield { countdown: left };
    },
};
const onConnect = ({ connectionParams }) => connectionParams?.token === "open sesame";
useServer({ schema, roots: { query, subscription }, onConnect }, new WebSocketServer({ server, path: "/graphql" }));
