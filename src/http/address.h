// Whom an address stands for, where something is shared out or counted by address. Pure; any thread.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <string>

namespace diffused::http {

// The address itself; of IPv6 its network, "2001:db8:0:1::/64", for whoever has one address of a /64 has all
// of them. An IPv4 address that is written as IPv6 is the IPv4 one.
std::string address_group(const boost::asio::ip::address& address);

}  // namespace diffused::http
