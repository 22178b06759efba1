export default view("ondine-results", () => {});
